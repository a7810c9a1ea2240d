"""`lowmed ask`: reasoning, answer, votes, and refused images and questions."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import FIXTURES
from PIL import Image, ImageChops
from ship import finished

from lowmed import prompt
from lowmed.api.ask import ask as api_ask
from lowmed.cli.ask import ask as command
from lowmed.data.image.draw_boxes import PREDICTED
from lowmed.data.image.policy import PixelPolicy
from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluation.answerer import Completion, OpenImage
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.run import is_missing_path
from lowmed.sample import Sample
from lowmed.ship import ask
from lowmed.ship.records import AskResult, SampledAnswers, Vote

QUESTION = "Where is the lesion?"


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image.png"
    phantom.open_image(phantom.samples("test", 1)[0].images[0]).save(path)
    return str(path)


def test_a_run_answers_about_two_images_and_counts_sampled_answers(
    image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished.run(tmp_path / "run", strength=0.001)
    command(str(run.folder), [image, image, QUESTION], samples=4, as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == ["image 1", "image 2"]
    assert "image.png" not in json.dumps(result)
    assert result["prompt"] == "reasoning"
    assert result["format"] == 1
    assert result["reasoning"] in result["completion"]
    assert result["reasoning"]
    assert result["answer"]
    votes = result["samples"]["votes"]
    assert sum(vote["completions"] for vote in votes) + result["samples"]["unread"] == 4


def test_the_embedded_model_answers_without_an_image_with_another_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    command("nano", [QUESTION], prompt="direct")
    printed = capsys.readouterr()
    assert printed.out.startswith(("answer", "reasoning", "unread"))
    assert "not a diagnostic device" in printed.err


class FixedAnswerer:
    """Completions with these texts, in order."""

    def __init__(self, *texts: str) -> None:
        self.texts = iter(texts)

    def __call__(
        self, samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        del open_image, temperature
        return (Completion(sample, next(self.texts), 1, "stop") for sample in samples for _ in range(copies))


def ask_fixed(*texts: str, samples: int = 0) -> AskResult:
    family = prompt.family("reasoning")
    sample = ask.question_sample(QUESTION, [], family, ModelSpec(), phantom.open_image)
    return ask.ask_model(FixedAnswerer(*texts), "fixed", sample, family, phantom.open_image, samples)


def test_boxes_are_read_in_pixels_of_the_image_and_drawn(image: str) -> None:
    family = prompt.family("boxes")
    open_image = ask.open_images([image], PixelPolicy(64))
    sample = ask.question_sample(QUESTION, [image], family, ModelSpec(), open_image)
    answerer = FixedAnswerer('<answer>[{"bbox_2d": [250, 500, 500, 750], "label": "lesion"}]</answer>')
    result = ask.ask_model(answerer, "fixed", sample, family, open_image, 0)
    assert result.answer == '[{"bbox_2d": [21, 42, 42, 63], "label": "lesion"}]'  # of 84 x 84 pixels
    drawn = ask.with_boxes(result, sample, open_image)
    changed = ImageChops.difference(drawn, open_image(image).convert("RGB")).getbbox()
    assert drawn.getpixel((21, 50)) == drawn.getpixel((41, 50)) == PREDICTED
    assert changed is not None
    assert changed[:2] == (21, 42)
    qwen25 = ModelSpec(name="Qwen/Qwen2.5-VL-3B-Instruct", max_image_tokens=64)
    assert ask.question_sample(QUESTION, [image], family, qwen25, open_image).box_grid == (84, 84)


def test_a_drawn_image_has_pixels_only(tmp_path: Path) -> None:
    about = Image.Exif()
    about[0x010E] = "DOE^JANE"
    photo = tmp_path / "photo.jpg"
    phantom.open_image("phantom/test/0/0").save(photo, exif=about, icc_profile=b"DOE^JANE", comment=b"DOE^JANE")
    api_ask("nano", [photo], QUESTION, prompt="boxes", draw=tmp_path / "boxes.png")
    with Image.open(tmp_path / "boxes.png") as drawn:
        assert drawn.info == {}
        assert not drawn.getexif()
    assert b"DOE" not in (tmp_path / "boxes.png").read_bytes()


def test_there_is_nothing_to_draw_without_boxes(image: str, tmp_path: Path) -> None:
    for out, family in ((tmp_path / "a.png", None), (tmp_path / "a.jpg", "boxes")):
        with pytest.raises(RecipeError, match=r"PNG|no boxes"):
            api_ask("nano", [image], QUESTION, draw=out, prompt=family)
        assert not out.exists()


def test_an_ambiguous_completion_is_unread_and_has_no_vote() -> None:
    result = ask_fixed(
        "<think>so</think><answer>left</answer><answer>right</answer>", "<answer>left</answer>", "", samples=2
    )
    assert result.answer is None
    assert result.flags == ("ambiguous_tags",)
    assert result.reasoning == "so"
    assert result.samples == SampledAnswers(2, 1.0, 1, (Vote("left", 1, 0.5),))


def test_a_completion_without_think_tags_has_no_reasoning() -> None:
    result = ask_fixed("<answer>upper left</answer>")
    assert (result.answer, result.reasoning, result.strict) == ("upper left", "", True)


def test_a_dicom_file_is_opened_with_and_without_suffix(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    file = FIXTURES / "dicom" / "MR_small_expb.dcm"
    bare = tmp_path / "no-suffix"
    bare.write_bytes(file.read_bytes())
    opened = ask.open_images([str(file), str(bare)], PixelPolicy(256))
    assert opened(str(file)).tobytes() == opened(str(bare)).tobytes()
    assert opened(str(bare)).size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "the question is empty"),
        (["x" * 100_000], "100,000 characters"),
        (["what is <|image_pad|> here?"], "control token"),
        (["missing.png", QUESTION], "the image does not exist"),
        (["{image}"], None),
        (["{image}", "{text}", QUESTION], "a text, not an image"),
        (["{folder}", QUESTION], "the image does not exist"),
        (["{narrow}", QUESTION], "too narrow|narrow"),
    ],
)
def test_a_bad_question_or_image_is_refused_before_the_model_is_loaded(
    image: str, tmp_path: Path, arguments: list[str], message: str | None
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    Image.new("RGB", (3000, 9)).save(tmp_path / "narrow.png")
    paths = {
        "image": image, "text": str(tmp_path / "text.png"), "folder": str(tmp_path),
        "narrow": str(tmp_path / "narrow.png"),
    }  # fmt: skip
    if message is None:
        message, arguments = "the last argument is an image", ["{image}", "{image}"]
    with pytest.raises(DataError, match=message):
        command("nano", [argument.format(**paths) for argument in arguments])


def test_an_unknown_prompt_family_is_refused() -> None:
    with pytest.raises(RecipeError, match="no prompt family"):
        command("nano", [QUESTION], prompt="oracle")


@pytest.mark.parametrize("target", ["runs/none", "./none", "none", "/none/of/these"])
def test_a_missing_run_is_named_without_a_request_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="the run does not exist") as raised:
        command(target, [QUESTION])
    assert len(str(raised.value).splitlines()) == 3


def test_a_hub_id_is_not_a_missing_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_missing_path("Qwen/Qwen2-VL-2B-Instruct")
    (tmp_path / "Qwen").mkdir()
    assert is_missing_path("Qwen/Qwen2-VL-2B-Instruct")
