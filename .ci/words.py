"""Check that code, docs, notebooks and recipes use one vocabulary: `path:line: word -> what to write`.

Plain Python, no dependencies. `make lint` runs it after ruff. Exit code 1 where there is a hit.

    python .ci/words.py                  every file that git tracks or would track
    python .ci/words.py lowmed/plan      some files or folders
    python .ci/words.py --count          hits per folder instead of one line a hit
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".py", ".md", ".ipynb", ".yaml", ".toml", ".sh", ".jinja", ".html", ""}
SKIPPED = (
    ".ci/words.py",  # lists the words
    "tests/test_words.py",  # tests them
    "LICENSE",
    "shared/*",
    "benchmarks/results/*",
    "lowmed/nano/weights/*",  # the chat template of Qwen2-VL
    ".gitignore",
)
_NOUNS = (
    "address adapter answer audit base bridge checkpoint command config count evaluation figure file folder gate group "
    "image key letter line list model name number numbers object option package picture plan probe prompt proof "
    "question recipe reward rewards row run runs sample score scores sizes source split step table text token verdict"
).replace(" ", "|")

# Whole words, in any case, in prose and as parts of names (`told_by`): pattern -> what to write.
WORDS = {
    "told|tells": "reported, printed, shown, or name the action",
    "said|says so": "stated, reported, or name the action",
    "asked": "sent, requested, prompted, configured, or `question`/`prompt` as a noun",
    "knows|speaks": "supports, has, records",
    "can not": "cannot",
    "nowhere": "not ... anywhere, or name what is missing",
    "mend|mends|mended": "fix, repair",
    "to be had|be had": "available",
    "one's own|ones' own": "your own, custom",
    f"(?<!there )(?:is|are|was|were) no (?:{_NOUNS})": "is not a ..., or what it is instead (NaN, missing)",
    "beside": "next to, in addition to, compared with",
    "reply|replies": "completion(s); response(s) of a server",
    "picture|pictures": "image(s)",
    "at the most": "at most",
    "anew": "again",
    "so many": "N, or `the first N`",
    "by itself": "alone, automatically",
    "lies (?:there|aside|beside)|where (?:it|they|one) lies?": "is in, is stored in",
    "is met|are met": "occurs, is encountered",
    "rehearse|rehearsed|rehearses|rehearsal|rehearsals": "dry run",
    r"behaviour\w*": "behavior",
    r"\w*(?:normalis|quantis|optimis|initialis|serialis|tokenis|recognis|summaris|minimis|maximis|generalis|randomis)\w*":
        "the American spelling, -iz-",
    "licence|licences": "license",
}  # fmt: skip
# Whole identifiers of Python code, underscores around them aside.
NAMES = {
    "found": "what it is: report, rows, scores, match",
    "who": "target, system, model, speaker",
    "whole": "what it is",
    "mine|theirs": "what it is",
}
# Quoted text of others inside a line: removed before the search.
QUOTED = re.compile(r"Reply as <")  # prompt texts, which never change
# (file or pattern of files, word or * for all, reason). A hit here is legitimate. An entry without a hit is reported.
ALLOWED = (
    ("lowmed/judge/rubric.py", "*", "rubric texts, part of the digest of a calibration"),
    ("lowmed/evaluation/judge_calibration.py", "*", "attack texts against the judge"),
    ("lowmed/data/ingest/columns.py", "picture", "a column name in tables of users"),
    ("lowmed/rewards/hacks.py", "reply", "a text of an attack"),
    ("tests/distillation/test_filters.py", "told", "a text that must be refused"),
    ("lowmed/data/ingest/answer_instructions.py", "reply", "a word of instructions in data sets"),
    ("lowmed/data/ingest/placeholders.py", "picture", "a placeholder in data sets"),
    ("tests/data/test_placeholders.py", "picture", "a placeholder in data sets"),
    ("lowmed/answer/lexicon/*", "*", "words of the language itself"),
    ("lowmed/answer/findings/*_words.py", "*", "words of the language itself"),
    ("tests/answer/test_vectors.py", "reply", "a value in the file of test vectors"),
    ("tests/fixtures/dicom/LICENSE", "are met", "the license of pydicom"),
    ("CHANGELOG.md", "*", "old names in the table of renamed keys and options"),
)

_WORDS = re.compile(r"(?<![A-Za-z])(?:" + "|".join(WORDS) + r")(?![A-Za-z])", re.IGNORECASE)
_NAMES = re.compile(r"(?<!\w)_*(?:" + "|".join(NAMES) + r")_*(?!\w)")
_ADVICE = [(re.compile(pattern, re.IGNORECASE), advice) for pattern, advice in (WORDS | NAMES).items()]
_TEXT = re.compile(
    r"""[rRbBfFuU]*(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|#[^\n]*""",
    re.DOTALL,
)
Hit = tuple[str, int, str, str]  # file, line, word, what to write


def main() -> int:
    """Print the hits, or their count per folder."""
    parser = argparse.ArgumentParser(description="Check the vocabulary.")
    parser.add_argument("paths", nargs="*", help="files or folders; default: all")
    parser.add_argument("--count", action="store_true", help="print hits per folder")
    options = parser.parse_args()
    files = _files(options.paths)
    hits = [hit for file in files for hit in _hits(file, (ROOT / file).read_text(encoding="utf-8"))]
    kept = [hit for hit in hits if not any(_matches(hit, entry) for entry in ALLOWED)]
    stale = [entry for entry in ALLOWED if entry[0] in files and not any(_matches(hit, entry) for hit in hits)]
    if options.count:
        folders = Counter("/".join(file.split("/")[:-1][:2]) or file for file, *_ in kept)
        lines = [f"{count:5d}  {folder}" for folder, count in sorted(folders.items())]
    else:
        lines = [f"{file}:{line}: {word} -> {advice}" for file, line, word, advice in kept]
    lines += [f".ci/words.py: {file} has no `{word}` -> delete its entry in ALLOWED" for file, word, _ in stale]
    print("\n".join([*lines, f"{len(kept)} words to replace" if kept else "All words are fine."]))
    return 1 if kept or stale else 0


def _files(paths: list[str]) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *(paths or ["."])]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(
        file
        for file in set(listed)
        if Path(file).suffix in SUFFIXES
        and not any(fnmatch(file, pattern) for pattern in SKIPPED)
        and (ROOT / file).is_file()
    )


def _hits(file: str, text: str) -> Iterator[Hit]:
    """All hits of one file; a line of a notebook counts from the start of all its cells."""
    if file.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    text = QUOTED.sub(lambda match: " " * len(match[0]), text)
    # A phrase may be broken across lines, e.g. in a docstring: every line break counts as a space.
    spaced = text.replace("\n", " ")
    places = [(match.start(), match[0]) for match in _WORDS.finditer(spaced)]
    if file.endswith(".py"):
        code = _TEXT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        places += [(match.start(), match[0].strip("_")) for match in _NAMES.finditer(code)]
    for start, word in sorted(places):
        advice = next(advice for pattern, advice in _ADVICE if pattern.fullmatch(word.lower()))
        yield file, text.count("\n", 0, start) + 1, word, advice


def _matches(hit: Hit, entry: tuple[str, str, str]) -> bool:
    return fnmatch(hit[0], entry[0]) and entry[1] in ("*", hit[2].lower())


if __name__ == "__main__":
    sys.exit(main())
