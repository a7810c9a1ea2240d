"""Draw boxes on an image: gold boxes green, predicted boxes orange."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from lowmed.boxes import Box, Size

GOLD, PREDICTED = (60, 200, 60), (255, 150, 0)
LABEL_PX = 12  # height of Pillow's own font


def draw_boxes(image: Image.Image, size: Size, gold: Sequence[Box] = (), predicted: Sequence[Box] = ()) -> Image.Image:
    """A copy of the image in RGB with boxes drawn on it, and with their labels if these differ.

    Args:
        image: the original image, or the same image in another size.
        size: width and height of the original image in pixels, which the boxes refer to.
        gold: the gold boxes.
        predicted: the predicted boxes.
    """
    drawn = image.convert("RGB").copy()
    drawing = ImageDraw.Draw(drawn)
    width = max(1, round(max(drawn.size) / 250))
    labeled = len({box.label.casefold() for box in (*gold, *predicted)} - {""}) > 1
    for colour, boxes in ((GOLD, gold), (PREDICTED, predicted)):
        for box in boxes:
            left, top, right, bottom = box.scaled(drawn.width / size[0], drawn.height / size[1]).corners
            # The last pixel of a box is the one before its edge; a box of less than a pixel still shows.
            drawing.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
            if labeled and box.label:  # a label on its box would hide what is in it
                below = bottom + 1 if bottom + LABEL_PX <= drawn.height else top - LABEL_PX
                drawing.text((left, below), box.label, fill=colour)
    return drawn
