"""A heuristic for text in images: a list for review, not OCR. It can miss text.

Letters are small, thin, of one brightness, and form a row. The method is connected components of a top-hat transform,
as in classical document analysis; the thresholds were tuned on radiographs with and without text.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

LETTER_HEIGHT_PX = range(5, 25)
LETTER_WIDTH_PX = range(1, 27)
STROKE_PX = 7  # an opening of this size removes every letter's strokes
CONTRAST = 60  # of 255, between a stroke and its surroundings
FILLED = 0.15  # of its box, at least
ONE_BRIGHTNESS = 80  # of 255: the spread within a letter, which grows when an image is shrunk
LETTERS_IN_A_ROW = 4
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def text_rows(image: Image.Image) -> list[Box]:
    """The bounding boxes of rows of four or more letter-like marks."""
    grey = np.asarray(image.convert("L")).astype(np.int16)
    return [row for bright in (grey, 255 - grey) for row in _rows(_marks(bright))]


def _marks(grey: npt.NDArray[np.int16]) -> list[Box]:
    """The bounding boxes of bright thin marks of a letter's size."""
    strokes = grey - ndimage.grey_opening(grey, size=(STROKE_PX, STROKE_PX)) > CONTRAST
    labelled, _ = ndimage.label(strokes, structure=np.ones((3, 3)))
    marks = []
    for number, box in enumerate(ndimage.find_objects(labelled), start=1):
        tall, wide = box[0].stop - box[0].start, box[1].stop - box[1].start
        if tall not in LETTER_HEIGHT_PX or wide not in LETTER_WIDTH_PX:
            continue
        mark = labelled[box] == number
        if mark.mean() > FILLED and grey[box][mark].std() < ONE_BRIGHTNESS:
            marks.append((box[1].start, box[0].start, box[1].stop, box[0].stop))
    return marks


def _rows(marks: list[Box]) -> list[Box]:
    """Marks of similar height next to each other on one line."""
    rows: list[list[Box]] = []
    for mark in sorted(marks):
        for row in rows:
            _, top, right, bottom = row[-1]
            tall = max(bottom - top, mark[3] - mark[1])
            level = abs(mark[3] - bottom) <= 0.3 * tall and abs((mark[3] - mark[1]) - (bottom - top)) <= 0.4 * tall
            if level and mark[0] - right + 2 >= 0 and mark[0] - right <= 1.2 * tall:
                row.append(mark)
                break
        else:
            rows.append([mark])
    long = [np.array(row) for row in rows if len(row) >= LETTERS_IN_A_ROW]
    return [(int(r[:, 0].min()), int(r[:, 1].min()), int(r[:, 2].max()), int(r[:, 3].max())) for r in long]
