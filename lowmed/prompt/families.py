"""The shipped prompt families, each with the source of its texts."""

from lowmed.prompt.family import CompletionFormat, Family, OptionFormat

_TAGS = "Reply as <think>reasoning</think><answer>answer</answer>."
_REASON = "{question}\nThink step by step about what the image shows, then answer. " + _TAGS

_TOOLKIT = (
    Family("reasoning", (_REASON,), "think_answer", "toolkit's wording; RARL's inference prompt is not published"),
    Family(
        "diverse",
        (
            _REASON,
            "{question}\nExplain the findings that lead to your answer. " + _TAGS,
            "{question}\nAnswer in as few words as you can. " + _TAGS,
            "Look at the image and describe what matters for this question: {question}\n" + _TAGS,
        ),
        "think_answer",
        "toolkit's wordings; RARL mixes explanation-required, short-form and open-ended ones, texts not published",
    ),
    Family(
        "text-reasoning",
        ("{question}\nThink step by step, then answer. " + _TAGS,),
        "think_answer",
        "toolkit's wording, without an image",
    ),
    Family("direct", ("{question}\nReply as <answer>answer</answer>.",), "answer", "toolkit's wording"),
    Family(
        "report", ("{question}\nReply as <answer>report</answer>.",), "answer", "toolkit's wording, without thinking"
    ),
    Family(
        "nothink",
        ("{question}\nDo not explain or reason; give the answer alone. Reply as <answer>answer</answer>.",),
        "answer",
        "toolkit's wording",
    ),
)

_LETTER = "single-letter choice (A, B, C, D,...)"
_WORDS = "answer in as few words as possible"


def _letter_family(
    name: str,
    text: str,
    completion_format: CompletionFormat,
    source: str,
    option_format: OptionFormat,
    reference_answer: str = "{answer}",
) -> Family:
    """A family whose published text requests a letter; its fallback requests an answer in a few words instead."""
    return Family(
        name,
        (text,),
        completion_format,
        source,
        published=True,
        kinds=("choice",),
        fallback_wordings=(text.replace(_LETTER, _WORDS),),
        option_format=option_format,
        reference_answer=reference_answer,
    )


def _med_r1_family(name: str, text: str, completion_format: CompletionFormat, use: str) -> Family:
    """A family with options and gold answers as in Med-R1's published splits: `Which? A)CT, B)MRI`, ` A `."""
    source = f"Med-R1 (arXiv 2503.13939), its repository: {use}; options and gold answers as in its splits"
    options = OptionFormat(prefix=" ", entry="{letter}){option}", separator=", ", suffix="")
    return _letter_family(name, text, completion_format, source, options, " {answer} ")


_MEDVLM_R1 = f"""{{question}}
Your task:
1. Think through the question step by step, enclose your reasoning process in <think>...</think> tags.
2. Then provide the correct {_LETTER} inside <answer>...</answer> tags.
3. No extra information or text outside of these tags."""
_MED_R1_THINK = (
    "{question} Your task: 1. Think through the question step by step, enclose your reasoning process in "
    f"<think>...</think> tags. 2. Then provide the correct {_LETTER} inside <answer>...</answer> tags. "
    "3. No extra information or text outside of these tags."
)
_MED_R1_NOTHINK = (
    f"{{question}} Your task: 1. Provide the correct {_LETTER} inside <answer>...</answer> tags. "
    "2. No extra information or text outside of this tag."
)
_MED_R1_EVAL = (
    "{question} Think through the question step by step in <think>...</think> tags. "
    f"Then provide the correct {_LETTER} inside <answer>...</answer> tags."
)
_MED_R1_NOTHINK_EVAL = f"{{question}} Provide the correct {_LETTER} inside <answer>...</answer> tags."
_BRACKETS = OptionFormat(entry="{letter}) {option}", suffix="")
_DOTS = OptionFormat(suffix="\n")  # for texts that continue after the last option
_R1 = (
    _letter_family(
        "medvlm-r1",
        _MEDVLM_R1,
        "think_answer",
        "MedVLM-R1 (arXiv 2502.19634), its repository: training, and its `complex` test",
        _BRACKETS,
    ),
    _med_r1_family("med-r1-think", _MED_R1_THINK, "think_answer", "training"),
    _med_r1_family("med-r1-nothink", _MED_R1_NOTHINK, "answer", "training without thinking"),
    _med_r1_family("med-r1-eval", _MED_R1_EVAL, "think_answer", "evaluation"),
    _med_r1_family("med-r1-nothink-eval", _MED_R1_NOTHINK_EVAL, "answer", "evaluation without thinking"),
)

_MEDBRIDGE = (
    "{question} First think about the reasoning process in the mind and then provide the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think><answer> answer here </answer>"
)
_MEDBRIDGE_EVAL = (
    "{question}\nFirst output the thinking process in <think> </think> tags,"
    "Then output the final answer in <answer> </answer> tags.\nIMPORTANT: In <answer>, output ONLY the "
)
# The published prompt contains this backslash, because its source is a raw string.
_MEDVLTHINKER = (
    "You will solve a problem/request. You should provide your thoughts within <think> </think> tags before "
    r"providing the answer.\nWrite your final answer within <answer> </answer> tags."
    "\n\nQuestion: {question}"
)
_EXTRACT_JSON = (
    "You are an annotator of medical images. The answer format you need to follow is as follows: {question}\n"
    "First output the thinking process in <think> </think> tags and then output the final answer in <answer> "
    "</answer> tags. Output the final answer in JSON format."
)
_EHRMIND = """You are a helpful assistant for calculating a score for a given patient note. \
Please think step-by-step to solve the question and then generate the required score.
{question}
Please show your entire reasoning process in **a single** <think> </think> block \
(do not open or close the tag more than once). Your final response must be within <answer> </answer> tags. For example,
<think>
[entire reasoning process here]
</think>
<answer>
short and direct answer of the question
</answer>.

Do not output anything after the </answer> tag."""
_BOXES = (
    '{question}\nGive a box for each, as [{"bbox_2d": [left, top, right, bottom], "label": "name"}], or none. '
    "Reply as <answer>boxes</answer>."
)
_OTHERS = (
    Family(
        "boxes",
        (_BOXES,),
        "answer",
        "toolkit's wording; the JSON is that of Qwen2.5-VL and Qwen3-VL, which write boxes in this form",
        kinds=("boxes",),
        fallback_wordings=("{question}\nReply as <answer>answer</answer>.",),
    ),
    Family(
        "ehrmind",
        (_EHRMIND,),
        "think_answer",
        "EHRMind (arXiv 2505.24105), its repository: MedCalc; the toolkit leaves out the JSON inside the answer tag",
    ),
    Family(
        "medbridge",
        (_MEDBRIDGE,),
        "think_answer",
        "MedBridgeRL (arXiv 2603.01301), its repository: training; how its data list options was not found",
        published=True,
        option_format=_DOTS,
    ),
    Family(
        "medbridge-eval",
        (_MEDBRIDGE_EVAL + "single option letter, for example <answer>A</answer>",),
        "think_answer",
        "MedBridgeRL, its repository: Pass@K; of the text for open questions the end alone was found",
        published=True,
        kinds=("choice",),
        fallback_wordings=(_MEDBRIDGE_EVAL + "short final answer, no extra words.",),
        option_format=OptionFormat(prefix="\n\nOptions:\n", suffix=""),
    ),
    Family(
        "medvlthinker",
        (_MEDVLTHINKER,),
        "think_answer",
        "MedVLThinker (arXiv 2508.02669), its repository, with its form of options",
        published=True,
        option_format=OptionFormat(prefix="\n\nOptions:\n\n", separator="\n\n", suffix=""),
    ),
    Family(
        "extract-json",
        (_EXTRACT_JSON,),
        "think_answer",
        "Efficient Medical VIE (arXiv 2506.13363); its first sentences are left out in print and here the toolkit's",
        kinds=("json",),
        fallback_wordings=(_REASON,),
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in (*_TOOLKIT, *_R1, *_OTHERS)}
