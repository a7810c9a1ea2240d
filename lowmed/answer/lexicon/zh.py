"""Chinese."""

from lowmed.answer.lexicon.lexicon import Lexicon

_YES = ("是的", "是", "有", "包含", "包括", "存在", "可以", "对")
_NO = ("不是", "没有", "不包含", "不包括", "不存在", "不可以", "否", "无", "不")

CHINESE = Lexicon(
    language="zh",
    word_edge="",
    yes=_YES,
    no=_NO,
    opening_yes=_YES,
    opening_no=_NO,
    opening_end=r"\s*[,.;:!?、。，；]",
    negations=("没有", "不", "无"),
    refusals=(r"^我?(?:不知道|不清楚|不确定|无法)",),
    answer_phrases=(r"答案[*_`\s]*(?:是|:|：)",),
)
