"""A question of one's own: reasoning, answer, votes; and what is no image or no question."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import FIXTURES
from PIL import Image
from ship import finished

from lowmed import prompt
from lowmed.cli.ask import ask as command
from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import DataError, RecipeError
from lowmed.evaluate.answerer import Completion, OpenImage
from lowmed.nano import phantom
from lowmed.sample import Sample
from lowmed.ship import ask

QUESTION = "Where is the lesion?"


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    phantom.picture(phantom.samples("test", 1)[0].images[0]).save(path)
    return str(path)


def test_a_run_answers_about_two_pictures_and_says_how_stable(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished.run(tmp_path / "run", strength=0.001)
    command(str(run.folder), [image, image, QUESTION], samples=4, as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == ["picture.png", "picture.png"]
    assert result["prompt"]["name"] == "reasoning"
    assert result["reasoning"] in result["reply"]
    assert result["reasoning"]
    assert result["answer"]
    votes = result["samples"]["votes"]
    assert sum(vote["replies"] for vote in votes) + result["samples"]["unread"] == 4


def test_the_embedded_model_answers_without_a_picture_in_another_form(capsys: pytest.CaptureFixture[str]) -> None:
    command("nano", [QUESTION], prompt="direct")
    told = capsys.readouterr()
    assert told.out.startswith(("answer", "reasoning", "unread"))
    assert "not a diagnostic device" in told.err


class Says:
    """Completions with these texts, one after the other."""

    def __init__(self, *texts: str) -> None:
        self.texts = iter(texts)

    def __call__(
        self, samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        del open_image, temperature
        return (Completion(sample, next(self.texts), 1, "stop") for sample in samples for _ in range(copies))


def said(*texts: str, samples: int = 0) -> dict[str, object]:
    asked = ask.sample(QUESTION, [])
    return ask.ask(Says(*texts), asked, prompt.family("reasoning"), phantom.picture, samples)


def test_unread_is_unread_and_has_no_vote() -> None:
    result = said(
        "<think>so</think><answer>left</answer><answer>right</answer>", "<answer>left</answer>", "", samples=2
    )
    assert result["answer"] is None
    assert result["flags"] == ["ambiguous_tags"]
    assert result["reasoning"] == "so"
    assert result["samples"] == {
        "drawn": 2, "temperature": 1.0, "unread": 1, "votes": [{"answer": "left", "replies": 1, "share": 0.5}],
    }  # fmt: skip


def test_a_reply_without_reasoning_has_none() -> None:
    result = said("<answer>upper left</answer>")
    assert (result["answer"], result["reasoning"], result["strict"]) == ("upper left", "", True)


def test_a_dicom_file_is_welcome(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    file = FIXTURES / "dicom" / "MR_small_expb.dcm"
    bare = tmp_path / "no-suffix"
    bare.write_bytes(file.read_bytes())
    opened = ask.opened([str(file), str(bare)], PixelPolicy(256))
    assert opened(str(file)).tobytes() == opened(str(bare)).tobytes()
    assert opened(str(bare)).size == (64, 64)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (["  "], "the question is empty"),
        (["x" * 100_000], "100,000 characters"),
        (["what is <|image_pad|> here?"], "control token"),
        (["missing.png", QUESTION], "the image does not exist"),
        (["{picture}"], None),
        (["{picture}", "{text}", QUESTION], "can not be decoded|cannot be decoded"),
        (["{folder}", QUESTION], "the image does not exist"),
        (["{narrow}", QUESTION], "too narrow|narrow"),
    ],
)
def test_what_can_not_be_asked_is_told_before_a_model_is_loaded(
    image: str, tmp_path: Path, rest: list[str], told: str | None
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (3000, 9)).save(tmp_path / "narrow.png")
    places = {
        "picture": image, "text": str(tmp_path / "text.png"), "folder": str(tmp_path),
        "narrow": str(tmp_path / "narrow.png"),
    }  # fmt: skip
    if told is None:
        told, rest = "the last argument is an image", ["{picture}", "{picture}"]
    with pytest.raises(DataError, match=told):
        command("nano", [each.format(**places) for each in rest])


def test_an_unknown_prompt_family_is_told() -> None:
    with pytest.raises(RecipeError, match="no prompt family"):
        command("nano", [QUESTION], prompt="oracle")
