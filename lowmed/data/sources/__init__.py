"""The known data sets, one module each. To add one: write its module, list it here, and test it."""

from lowmed.data.sources.cord import CORD
from lowmed.data.sources.funsd import FUNSD
from lowmed.data.sources.generated import SOURCES as GENERATED
from lowmed.data.sources.hub_tables import PATH_VQA, SILVAR_MED
from lowmed.data.sources.iu_xray import IU_XRAY
from lowmed.data.sources.medcalc_bench import MEDCALC_BENCH
from lowmed.data.sources.medical_o1 import MEDICAL_O1
from lowmed.data.sources.medmnist import MEDMNIST
from lowmed.data.sources.medxpertqa_mm import MEDXPERTQA_MM
from lowmed.data.sources.omnimedvqa import OMNIMEDVQA
from lowmed.data.sources.pmc_vqa import PMC_VQA
from lowmed.data.sources.slake import SLAKE
from lowmed.data.sources.slake_boxes import SLAKE_BOXES
from lowmed.data.sources.source import Source
from lowmed.data.sources.sroie import SROIE
from lowmed.data.sources.vqa_med_2019 import VQA_MED_2019
from lowmed.data.sources.vqa_rad import VQA_RAD

KNOWN: dict[str, Source] = {
    source.name: source
    for source in (
        VQA_RAD,
        SLAKE,
        SLAKE_BOXES,
        PATH_VQA,
        PMC_VQA,
        OMNIMEDVQA,
        SILVAR_MED,
        VQA_MED_2019,
        MEDXPERTQA_MM,
        MEDMNIST,
        IU_XRAY,
        MEDCALC_BENCH,
        MEDICAL_O1,
        CORD,
        FUNSD,
        SROIE,
        *GENERATED,
    )
}

__all__ = ["KNOWN", "Source"]
