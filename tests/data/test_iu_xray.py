"""IU X-ray: made reports in the layout of Open-i, as files and as an archive."""

import tarfile
from pathlib import Path

import pytest
from data.made import SETTINGS, make_image, rejected, samples

from lowmed.data.ingest.detect import ImportOptions
from lowmed.data.ingest.prepare import PrepareCounts, prepare
from lowmed.data.sources import KNOWN
from lowmed.errors import DataError


def report_xml(
    number: int, findings: str = "", impression: str = "", images: int = 2, declaration: str = "", major: str = "normal"
) -> str:
    """A report with the elements of the published files, and no text of theirs."""
    parents = "".join(
        f'<parentImage id="MADE{number}_IM-{side}"><figureId>F{side}</figureId></parentImage>' for side in range(images)
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{declaration}<eCitation><uId id="MADE{number}"/><MedlineCitation>'
        f'<Article><Abstract><AbstractText Label="COMPARISON">None.</AbstractText>'
        f'<AbstractText Label="INDICATION">Cough</AbstractText><AbstractText Label="FINDINGS">{findings}</AbstractText>'
        f'<AbstractText Label="IMPRESSION">{impression}</AbstractText></Abstract></Article></MedlineCitation>'
        f"<MeSH><major>{major}</major></MeSH>{parents}</eCitation>"
    )


def write(folder: Path, reports: dict[int, str], without_image: str = "", archive: bool = False) -> None:
    xml, images = folder / "ecgen-radiology", folder / "NLMCXR_png"
    xml.mkdir()
    images.mkdir()
    for number, text in reports.items():
        (xml / f"{number}.xml").write_text(text, encoding="utf-8")
        for side in range(2):
            name = f"MADE{number}_IM-{side}.png"
            if name != without_image:
                make_image(10 * number + side).save(images / name)
    if archive:
        with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as packed:
            packed.add(xml, "ecgen-radiology")
        for file in xml.iterdir():
            file.unlink()
        xml.rmdir()


def build(folder: Path, out: Path, max_rejected: float = 1.0) -> PrepareCounts:
    rows = KNOWN["iu-xray"].rows(str(folder), ImportOptions())
    return prepare(rows.entries, out, SETTINGS, {"source": "iu-xray"}, max_rejected=max_rejected)


@pytest.mark.parametrize("archive", [False, True])
def test_a_row_is_one_report_with_all_of_its_images(tmp_path: Path, archive: bool) -> None:
    reports = {
        1: report_xml(1, "The lungs look clear.  No fluid.", "Nothing acute."),
        10: report_xml(10, "", "A mass on the left.", major="Mass/lung"),
        2: report_xml(2, "One image only.", images=1),
    }
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder, reports, archive=archive)
    counts = build(folder, tmp_path / "out")
    assert (counts.rows, counts.rejected, counts.kinds["report"]) == (3, 0, 3)
    by_answer = {sample["answer"]: sample for sample in samples(tmp_path / "out")}
    first = by_answer["Findings: The lungs look clear. No fluid.\nImpression: Nothing acute."]
    assert (len(first["images"]), first["topic"], first["modality"]) == (2, "normal", "X-ray")
    assert by_answer["Impression: A mass on the left."]["topic"] == "abnormal"
    assert len(by_answer["Findings: One image only."]["images"]) == 1
    assert len({sample["group"] for sample in by_answer.values()}) == 3


def test_sentences_with_a_mark_of_de_identification_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path, {1: report_xml(1, "Compared with XXXX there is no change. The heart is large. XXXX XXXX.", "XXXX.")}
    )
    build(tmp_path, tmp_path / "out")
    assert [sample["answer"] for sample in samples(tmp_path / "out")] == ["Findings: The heart is large."]


def test_reports_that_cannot_be_used_are_rejected_by_name(tmp_path: Path) -> None:
    entity = '<!DOCTYPE x [<!ENTITY a "aaaa">]>'
    reports = {
        1: report_xml(1, "Fine."),
        2: report_xml(2),
        3: report_xml(3, "XXXX.", "XXXX is XXXX."),
        4: report_xml(4, "Without one.", images=0),
        5: report_xml(5, "One is missing."),
        6: report_xml(6, "&a;", declaration=entity),
        7: "<eCitation>",
        8: "x" * (2**20 + 1),
    }
    write(tmp_path, reports, without_image="MADE5_IM-1.png")
    counts = build(tmp_path, tmp_path / "out")
    assert counts.rows == 1
    reasons = {where.file.removeprefix("ecgen-radiology/"): reason for where, reason in counts.rejections}
    assert len(rejected(tmp_path / "out")) == 7
    assert reasons["2.xml"] == "the report has neither findings nor impression"
    assert reasons["3.xml"] == "every sentence of the report has a mark of de-identification"
    assert reasons["4.xml"] == "the report has no image"
    assert reasons["5.xml"] == "the image MADE5_IM-1.png is not in the folder"
    assert "declares a document type" in reasons["6.xml"]
    assert "not XML" in reasons["7.xml"]
    assert "over 1 MiB" in reasons["8.xml"]


def test_an_archive_of_images_that_is_not_unpacked_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {1: report_xml(1, "Fine.")})
    for file in (tmp_path / "NLMCXR_png").iterdir():
        file.unlink()
    with pytest.raises(DataError) as caught:
        build(tmp_path, tmp_path / "out")
    assert "unpack NLMCXR_png.tgz" in caught.value.fix


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {1: report_xml(1, "Fine.")}, archive=True)
    archive = tmp_path / "NLMCXR_reports.tgz"
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="cannot be read"):
        build(tmp_path, tmp_path / "out")
