"""Short reports of several modalities, each with a paraphrase and false versions, for tests of the reasoning reward."""

from typing import NamedTuple

from lowmed.sample import Sample


class Report(NamedTuple):
    """A reference text, the same in other words, and texts that contradict it."""

    text: str
    paraphrase: str
    false: tuple[str, ...]


REPORTS = (
    Report(
        "There is a large left pleural effusion with mediastinal shift to the right. The right lung is clear.",
        "The right lung is normal. A left-sided pleural effusion is seen. The effusion is large, and there is a"
        " mediastinal shift to the right.",
        (
            "There is a large right pleural effusion with mediastinal shift to the left. The left lung is clear.",
            "There is no large left pleural effusion with mediastinal shift to the right. The right lung is clear.",
            "There is a small left pleural effusion with mediastinal shift to the right. The right lung is clear.",
        ),
    ),
    Report(
        "The heart is enlarged. There are bilateral perihilar opacities. No pneumothorax is seen.",
        "Bilateral perihilar opacities are present, without pneumothorax. An enlarged heart is noted.",
        (
            "The heart is not enlarged. There are bilateral perihilar opacities. No pneumothorax is seen.",
            "The heart is enlarged. There are no bilateral perihilar opacities. A pneumothorax is seen.",
            "The heart is enlarged. There are bilateral perihilar opacities. Pneumothorax is seen.",
        ),
    ),
    Report(
        "A 3.4 cm hypodense lesion lies in the right lobe of the liver. The spleen and the kidneys are normal.",
        "The liver has a hypodense lesion of 3.4 cm in the right lobe. Spleen and kidneys are unremarkable.",
        (
            "A 5 cm hypodense lesion lies in the right lobe of the liver. The spleen and the kidneys are normal.",
            "A 3.4 cm hyperdense lesion lies in the right lobe of the liver. The spleen and the kidneys are normal.",
            "A 3.4 cm hypodense lesion lies in the left lobe of the liver. The spleen and the kidneys are normal.",
            "A 3.4 mm hypodense lesion lies in the right lobe of the liver. The spleen and the kidneys are normal.",
        ),
    ),
    Report(
        "The appendix is dilated with a wall that is thickened. There is free fluid in the pelvis but no abscess.",
        "A dilated appendix with a thickened wall. Free fluid in the pelvis. No abscess.",
        ("The appendix is dilated with a wall that is thickened. There is an abscess but no free fluid.",),
    ),
    Report(
        "The T2-weighted MRI shows a hyperintense lesion in the left frontal lobe with surrounding edema.",
        "On T2-weighted MRI a lesion in the left frontal lobe is hyperintense, with surrounding edema.",
        (
            "The T2-weighted MRI shows a hypointense lesion in the left frontal lobe with surrounding edema.",
            "The T2-weighted MRI shows a hyperintense lesion in the right frontal lobe with surrounding edema.",
            "The T1-weighted CT shows a hyperintense lesion in the left frontal lobe with surrounding edema.",
        ),
    ),
    Report(
        "Disc herniation at L4/L5 compresses the nerve root on the right. The spinal canal is not narrowed.",
        "At L4/L5 there is a disc herniation that compresses the nerve root on the right. No narrowed spinal canal.",
        ("Disc herniation at L4/L5 compresses the nerve root on the left. The spinal canal is not narrowed.",),
    ),
    Report(
        "The section shows invasive glands with marked nuclear pleomorphism. Two mitoses are seen. Necrosis is absent.",
        "Invasive glands with marked nuclear pleomorphism. There are two mitoses. There is no necrosis.",
        (
            "The section shows invasive glands with marked nuclear pleomorphism. Three mitoses are seen.",
            "The section shows invasive glands with marked nuclear pleomorphism. Necrosis is present.",
        ),
    ),
    Report(
        "The epithelium is intact and benign. The stroma is fibrotic without inflammation.",
        "Benign and intact epithelium. A fibrotic stroma. No inflammation.",
        ("The epithelium is intact and malignant. The stroma is fibrotic without inflammation.",),
    ),
    Report(
        "The fundus has hard exudates and microaneurysms near the macula. The optic disc is pale.",
        "Hard exudates and microaneurysms near the macula are seen. There is a pale optic disc.",
        (
            "The fundus has soft exudates and microaneurysms near the macula. The optic disc is pale.",
            "The fundus has no hard exudates and no microaneurysms near the macula. The optic disc is pale.",
        ),
    ),
    Report(
        "The retina is attached. There is a small hemorrhage in the temporal quadrant and no drusen.",
        "An attached retina. A small hemorrhage lies in the temporal quadrant. Drusen are absent.",
        ("The retina is attached. There is a small hemorrhage in the nasal quadrant and no drusen.",),
    ),
    Report(
        "The gallbladder contains two stones. The bile duct is not dilated and measures 4 mm.",
        "Two stones are in the gallbladder. The bile duct measures 4 mm. It is not dilated.",
        (
            "The gallbladder contains four stones. The bile duct is not dilated and measures 4 mm.",
            "The gallbladder contains two stones. The bile duct is dilated and measures 4 mm.",
            "The gallbladder contains two stones. The bile duct is not dilated and measures 9 mm.",
        ),
    ),
    Report(
        "The left kidney is hydronephrotic. The right kidney is normal. The bladder is empty.",
        "A hydronephrotic left kidney. The bladder is empty. The right kidney is unremarkable.",
        ("The right kidney is hydronephrotic. The left kidney is normal. The bladder is empty.",),
    ),
)
# Written after the rules.
LATER_REPORTS = (
    Report(
        (
            "Chest radiograph demonstrates right lower lobe consolidation with air bronchograms. The left lung is "
            "clear and there is no pleural effusion."
        ),
        (
            "There is consolidation in the right lower lobe containing air bronchograms. No pleural effusion. Clear"
            " left lung."
        ),
        (
            (
                "Chest radiograph demonstrates left lower lobe consolidation with air bronchograms. The right lung "
                "is clear and there is no pleural effusion."
            ),
            (
                "Chest radiograph demonstrates right lower lobe consolidation with air bronchograms. The left lung "
                "is clear and there is a pleural effusion."
            ),
            (
                "Chest radiograph demonstrates right upper lobe consolidation with air bronchograms. The left lung "
                "is clear and there is no pleural effusion."
            ),
        ),
    ),
    Report(
        (
            "Non-contrast CT of the head shows a hyperdense crescent-shaped collection along the left convexity, "
            "measuring 12 mm, with 5 mm of midline shift to the right."
        ),
        (
            "On non-contrast head CT, a crescent-shaped hyperdense collection of 12 mm is seen along the left "
            "convexity. There is midline shift to the right of 5 mm."
        ),
        (
            (
                "Non-contrast CT of the head shows a hyperdense crescent-shaped collection along the right "
                "convexity, measuring 12 mm, with 5 mm of midline shift to the left."
            ),
            (
                "Non-contrast CT of the head shows a hyperdense crescent-shaped collection along the left "
                "convexity, measuring 22 mm, with 5 mm of midline shift to the right."
            ),
        ),
    ),
    Report(
        (
            "The medial meniscus has a tear of its posterior horn. The anterior cruciate ligament is intact. A "
            "small joint effusion is present."
        ),
        (
            "There is a tear of the posterior horn of the medial meniscus, and a small joint effusion. Intact "
            "anterior cruciate ligament."
        ),
        (
            (
                "The lateral meniscus has a tear of its posterior horn. The anterior cruciate ligament is intact. A"
                " small joint effusion is present."
            ),
            (
                "The medial meniscus has a tear of its posterior horn. The anterior cruciate ligament is torn. A "
                "small joint effusion is present."
            ),
            (
                "The medial meniscus has no tear of its posterior horn. The anterior cruciate ligament is intact. A"
                " small joint effusion is present."
            ),
        ),
    ),
    Report(
        (
            "High-power view shows atypical cells with hyperchromatic nuclei and abundant mitoses. There is "
            "vascular invasion but no perineural invasion."
        ),
        (
            "Atypical cells with hyperchromatic nuclei and abundant mitoses are seen. Vascular invasion is present."
            " Perineural invasion is absent."
        ),
        (
            (
                "High-power view shows atypical cells with hyperchromatic nuclei and abundant mitoses. There is "
                "perineural invasion but no vascular invasion."
            ),
        ),
    ),
    Report(
        (
            "Fundus photograph of the right eye with a cup-to-disc ratio of 0.8 and an inferior notch. The macula "
            "appears healthy."
        ),
        (
            "In this fundus photograph of the right eye, the cup-to-disc ratio is 0.8, with an inferior notch. The "
            "macula is normal."
        ),
        (
            (
                "Fundus photograph of the right eye with a cup-to-disc ratio of 0.3 and an inferior notch. The "
                "macula appears healthy."
            ),
            (
                "Fundus photograph of the left eye with a cup-to-disc ratio of 0.8 and an inferior notch. The "
                "macula appears healthy."
            ),
        ),
    ),
    Report(
        (
            "Ultrasound reveals an anechoic cyst of 4 cm in the left ovary. The uterus is unremarkable, and there "
            "is no free fluid."
        ),
        "A 40 mm anechoic cyst is in the left ovary on ultrasound. Normal uterus. No free fluid.",
        (
            (
                "Ultrasound reveals an anechoic cyst of 7 cm in the left ovary. The uterus is unremarkable, and "
                "there is no free fluid."
            ),
            (
                "Ultrasound reveals an anechoic cyst of 4 cm in the left ovary. The uterus is unremarkable, and "
                "there is free fluid."
            ),
            (
                "Ultrasound reveals an anechoic cyst of 4 cm in the right ovary. The uterus is unremarkable, and "
                "there is no free fluid."
            ),
        ),
    ),
    Report(
        (
            "Looking at the image, the stomach bubble lies on the left and the liver on the right. I see three rib "
            "fractures on the right side, so the answer is trauma."
        ),
        (
            "There are three rib fractures on the right side. The stomach bubble is on the left, the liver is on "
            "the right. So the answer is trauma."
        ),
        (
            (
                "Looking at the image, the stomach bubble lies on the right and the liver on the left. I see three "
                "rib fractures on the left side, so the answer is trauma."
            ),
            (
                "Looking at the image, the stomach bubble lies on the left and the liver on the right. I see two "
                "rib fractures on the right side, so the answer is trauma."
            ),
        ),
    ),
    Report(
        (
            "The lesion is a well-circumscribed, homogeneously enhancing extra-axial mass with a dural tail, most "
            "consistent with meningioma."
        ),
        (
            "An extra-axial, homogeneously enhancing and well-circumscribed mass with a dural tail is present. This"
            " is most consistent with meningioma."
        ),
        (
            (
                "The lesion is an ill-defined, homogeneously enhancing extra-axial mass without a dural tail, most "
                "consistent with meningioma."
            ),
        ),
    ),
)
SAMPLES = tuple(
    Sample(
        f"report-{number}", "Describe the image.", "see the report", "open", f"g{number}", "t", explanation=report.text
    )
    for number, report in enumerate(REPORTS)
)
