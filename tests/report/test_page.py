"""Pages show the right pictures under the right headings, whole, in one file, and no data can break them."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from penultimate.curation import findings
from penultimate.curation.findings import Finding
from penultimate.drawing.tiles import Tile
from penultimate.imaging import crops
from penultimate.report import page
from penultimate.report.tables import Table
from tests.report.results import Page, Results, Shown

NASTY = '<script>alert("x")<b>&{{ 7 * 7 }}$x$'
BOTH_WRONG, LINEAR_WRONG, FINETUNE_WRONG = "cat/val-0.png", "owl/val-1.png", "dog/val-1.png"
QUOTES = '" onerror="alert(1)\''


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shows(picture: Shown, path: str) -> bool:
    """Whether it is the whole picture at this path: pictures of `Results` differ by 80 and more on average."""
    expected = Image.open(Path("data/raw", path)).convert("RGB")
    pixels = Image.fromarray(picture.pixels).resize(expected.size)
    return bool(np.abs(np.asarray(pixels, float) - np.asarray(expected, float)).mean() < 15)


def all_pictures(shown: Page) -> list[Shown]:
    return [picture for section in shown.sections.values() for card in section.cards for picture in card]


@pytest.fixture
def results() -> Results:
    """Mistakes of both modes and of one alone; two wrong labels; findings of one picture and of two."""
    made = Results(["cat", "dog", "owl"])
    made.mistake("linear", "cat", 0, "dog", 0.8)
    made.mistake("finetune", "cat", 0, "owl", 0.6)
    made.mistake("linear", "owl", 1, "dog", 0.7)
    made.mistake("finetune", "dog", 1, "cat", 0.9)
    for place, surely in ((1, 0.95), (4, 0.99)):  # cat 1 looks like a dog, owl 0 too, more surely
        made.out_of_fold[place] = made.sure_of([1], surely)[0]
    paths = [picture.path for picture in made.pictures]
    made.findings = [
        Finding(findings.TWO_LABELS, paths[0], paths[2], "hashes differ in 3 of 256 bits"),
        Finding(findings.TWO_LABELS, paths[5], paths[1], "the same bytes"),
        Finding(findings.ODD_SIZE, paths[3], "", "48 x 40; usual: 300"),
        Finding(findings.TINY_CLASS, "owl", "", "2 training pictures"),
    ]
    made.rejected = [("cat/broken.png", "cut short")]
    return made


def test_the_right_pictures_stand_under_the_right_headings(results: Results) -> None:
    shown = Page(results.of_both())
    assert shown["Mistakes of linear: 2"].paths == [[BOTH_WRONG], [LINEAR_WRONG]]
    assert shown["Mistakes of finetune: 2"].paths == [[FINETUNE_WRONG], [BOTH_WRONG]]
    assert shown["Only linear is wrong: 1"].paths == [[LINEAR_WRONG]]
    assert shown["Only finetune is wrong: 1"].paths == [[FINETUNE_WRONG]]
    (both_wrong,) = shown["Mistakes of linear"].cards[0]
    assert both_wrong.caption.split("\n") == [both_wrong.alt, "predicted: dog (80%)", "but is: cat"]

    train = [picture.path for picture in results.train.pictures]
    errors = shown["Likely label errors in train: 2"]
    assert errors.paths == [[train[4]], [train[1]]]
    assert errors.cards[0][0].caption.split("\n") == [train[4], "labelled owl (1%)", "likely dog (99%)"]

    assert shown["Two labels: 2"].paths == [[train[0], train[2]], [train[5], train[1]]]
    assert shown["Two labels: 2"].said == ["hashes differ in 3 of 256 bits", "the same bytes"]
    assert shown["Odd size: 1"].paths == [[train[3]]]
    assert shown["Tiny classes"].rows == [["class", ""], ["owl", "2 training pictures"]]
    assert shown["Left out: 1"].rows == [["picture", "reason"], ["cat/broken.png", "cut short"]]

    assert len(all_pictures(shown)) > 12
    for picture in all_pictures(shown):
        assert shows(picture, picture.alt), picture.alt
        others = [other.path for other in results.pictures if other.path != picture.alt]
        assert not any(shows(picture, other) for other in others), picture.alt


def test_predictions_say_what_each_mode_says(results: Results) -> None:
    section = Page(results.of_both(most=6))["Predictions"]
    said = {picture.alt: picture.caption.split("\n")[1:] for (picture,) in section.cards}
    assert len(said) == 6
    assert said[BOTH_WRONG] == ["is: cat", "✗ linear: dog (80%)", "✗ finetune: owl (60%)"]
    assert said[LINEAR_WRONG][:2] == ["is: owl", "✗ linear: dog (70%)"]
    assert said[LINEAR_WRONG][2].startswith("✓ finetune: owl")


def test_the_page_of_one_mode_has_it_all_in_one_file(results: Results) -> None:
    text = results.of_linear()
    shown = Page(text)
    for heading in (
        *("Learning curves", "Classes", "Confusion", "Reliability", "Predictions", "Mistakes: 2", "Where it looked"),
        *("Most alike in train", "Map", "Likely label errors in train: 2", "What to look at in the data"),
        *("Two labels: 2", "Odd size: 1", "Left out: 1", "Data", "How it was made"),
    ):
        assert shown[heading]
    assert "linear is right on 66.7 % of 6 pictures of val, 95 % interval [" in shown.sections[""].text
    assert "finetune" not in text
    assert shown.sections[""].rows[0][1:] == ["linear"]
    assert "Likely label errors" not in page.document([page.Arm.read("finetune")], "", most=4)


def test_a_page_asks_for_nothing_outside_itself(results: Results) -> None:
    for text in (results.of_linear(), results.of_both()):
        shown = Page(text)
        sources = [value for name, value in shown.attributes if name in ("src", "href", "xlink:href", "action")]
        assert sources
        assert all(value.startswith(("data:", "#")) for value in sources)
        assert not {"script", "link", "iframe"} & set(shown.tags)
        assert "url(" not in text.replace("url(#", "")


def test_thumbnails_show_all_of_a_picture_and_frame_what_the_network_sees(results: Results) -> None:
    paths = [results.pictures[i].path for i in (0, 3)]
    strip = np.zeros((30, 300, 3), np.uint8)
    strip[:, :20], strip[:, -20:] = (250, 0, 0), (0, 0, 250)
    Image.fromarray(strip).save(Path("data/raw", paths[1]))
    (picture,) = Page(results.of_both())["Odd size"].cards[0]
    height, width, _ = picture.pixels.shape
    assert 9 < width / height < 11
    assert picture.pixels[height // 2, 2, 0] > 200
    assert picture.pixels[height // 2, -2, 2] > 200
    left, top, wide, high = map(float, re.findall(r"([\d.]+)%", picture.frame))
    box = crops.centre_cut(300, 30).box
    assert [left, top, left + wide, top + high] == pytest.approx(
        [100 * box[0] / 300, 100 * box[1] / 30, 100 * box[2] / 300, 100 * box[3] / 30], abs=0.05
    )


def test_no_mistake_at_all_reads_well(results: Results) -> None:
    shown = Page(Results(["a", "b"]).of_linear())
    for heading in ("Mistakes: 0", "Likely label errors in train: 0", "Left out: 0"):
        assert shown[heading].text.split() == ["none"]
        assert not shown[heading].cards
    assert shown["Where it looked"].text.strip() == "a note"
    assert shown["Most alike in train"].text.strip() == "no mistakes"


def test_names_from_the_data_are_text_wherever_they_stand() -> None:
    def page_of(one: str, other: str, file: str) -> str:
        results = Results([one, other], file=file)
        results.mistake("linear", one, 0, other)
        results.mistake("finetune", other, 1, one)
        results.out_of_fold[0] = results.out_of_fold[0, ::-1]
        first, second = (results.pictures[i].path for i in (0, 2))
        results.findings = [
            Finding(findings.TWO_LABELS, first, second, f"{one} in train"),
            Finding(findings.TINY_CLASS, one, "", "2"),
        ]
        results.rejected = [(f"{one}/{file}", f"damaged: {other}")]
        results.made_by["linear"]["chosen"] = results.made_by["linear"]["other"] = one
        return results.of_both() + results.of_linear()

    harmless, nasty = Page(page_of("a", "b", "c-{i}.png")), Page(page_of(NASTY, QUOTES, NASTY + "{i}.png"))
    assert nasty.tags == harmless.tags
    assert [name for name, _ in nasty.attributes] == [name for name, _ in harmless.attributes]
    texts = [cell for section in nasty.sections.values() for row in section.rows for cell in row]
    assert NASTY in texts
    assert QUOTES in texts
    assert f"damaged: {QUOTES}" in texts
    assert f"{NASTY}/{NASTY}" + "0.png" not in texts  # paths are captions


def test_long_names_are_there_to_their_end() -> None:
    names = ["n" * 99 + end for end in "abcdef"]
    results = Results(names, file="f" * 100 + "{i}.png")
    path = results.mistake("linear", names[0], 0, names[5])
    section = Page(results.of_linear())["Mistakes: 1"]
    assert section.cards[0][0].caption.split("\n") == [path, f"predicted: {names[5]} (90%)", f"but is: {names[0]}"]


def test_hundreds_of_classes_make_a_small_page_that_can_be_read() -> None:
    results = Results([f"class-{i:04}" for i in range(500)], train=1, val=2, copies=True)
    for i in range(200):
        results.mistake("linear", f"class-{i:04}", 0, f"class-{i // 2 + 300:04}")
    results.mistake("linear", "class-0007", 1, "class-0303")
    results.findings = [Finding(findings.TINY_CLASS, name, "", "1 training pictures") for name in results.classes]
    text = results.of_both()
    assert len(text) < 1_000_000
    shown = Page(text)
    assert max(len(row) for section in shown.sections.values() for row in section.rows) < 10
    assert max(len(cell) for section in shown.sections.values() for row in section.rows for cell in row) < 500
    classes = shown["Classes"].rows[1:]
    assert classes[0][:3] == ["class-0007", "2", "0.000"]
    assert {row[0] for row in classes[:20] + classes[21:]} == set(results.classes)  # the folded ones have a header
    assert "and 480 more" in shown["Classes"].text
    assert shown["linear"].rows[1] == ["class-0007", "class-0303", "2 of 2", "0.000"]
    assert len(shown["linear"].rows) == 21
    assert "and 180 more pairs" in shown["linear"].text


def test_what_must_be_said_beside_numbers_is_said(results: Results) -> None:
    def said() -> str:
        return Page(results.of_linear()).sections[""].text

    assert "far above" not in said()  # 4 of 6 are right in both
    results.made_by["linear"] |= {
        "chosen": "C = 0.1, by 2-fold cross-validation within train: fewer folds",
        "chosen_on": "val",
    }
    assert "C = 0.1, by 2-fold cross-validation within train: fewer folds" in said()
    assert "keep: best" in said()

    many = Results(["a", "b"], val=100, copies=True)
    for i in range(20):
        many.mistake("linear", "a", i, "b")
    text = Page(many.of_linear()).sections[""].text
    assert "the out-of-fold accuracy on train, 100.0 %, is far above val's, 90.0 %" in text


def test_curves_say_what_their_train_numbers_are_of(results: Results) -> None:
    of_both, of_one = (Page(text)["Learning curves"].text for text in (results.of_both(), results.of_linear()))
    assert "linear: train is measured on the centre crops" in of_both
    assert "finetune: train is the running mean over an epoch's augmented batches" in of_both
    assert "finetune" not in of_one


def test_a_class_without_a_picture_in_val_is_named(results: Results) -> None:
    lost = [picture for picture in results.val.pictures if picture.label != "owl"]
    results.val = type(results.val)(lost, results.val.classes)
    results.probabilities = {mode: values[: len(lost)] for mode, values in results.probabilities.items()}
    section = Page(results.of_both())["Classes"]
    assert "Without a picture in val" in section.text
    assert section.text.strip().endswith(": owl")
    assert section.rows[-1][:3] == ["owl", "0", "not defined"]


def test_the_same_results_give_the_same_bytes(results: Results) -> None:
    assert results.of_both() == results.of_both()
    assert results.of_linear() == results.of_linear()


@given(st.text())
def test_any_text_in_any_piece_adds_no_tag(text: str) -> None:
    pieces = page.TEMPLATES.get_template("macros.html").module
    pixels = np.zeros((4, 4, 3), np.uint8)

    def tags(name: str) -> tuple[list[str], list[str]]:
        shown = Page(
            f"<h2></h2>{pieces.table(Table([name], [[name]], left_out='x' + name))}"  # type: ignore[attr-defined]
            f"{pieces.rows_of([page.Card([Tile(pixels, 'x' + name, path=name)], 'x' + name)])}"  # type: ignore[attr-defined]
        )
        return shown.tags, [attribute for attribute, _ in shown.attributes]

    assert tags(text or "y") == tags("y")
