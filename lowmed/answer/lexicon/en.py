"""English."""

from lowmed.answer.lexicon.en_verdicts import VERDICTS
from lowmed.answer.lexicon.lexicon import Lexicon, Spelling

_FIND = r"(?:know|tell|say|answer|determine|assess|provide|identify|count|select|choose)"
_FOUND = r"(?:known|told|said|answered|determined|assessed|provided|identified|counted|selected|chosen)"
_UNSURE = r"(?:not (?:clear|sure|certain|known|possible)|unclear|uncertain|unsure|unknown|indeterminate|inconclusive)"
_UNABLE = (
    r"(?:cannot|can not|can t|could not|couldn t|unable to|impossible to|not (?:possible|able) to|hard to"
    r"|difficult to)"
)
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_AFFIRMED = (
    *(
        "absolutely",
        "definitely",
        "certainly",
        "correct",
        "affirmative",
        "of course",
        "indeed",
        "no doubt",
        "no question",
    ),
    *("without a doubt", "undoubtedly"),
)
_NEGATED = ("negative", "not at all", "absolutely not", "definitely not", "certainly not", "of course not", "incorrect")


ENGLISH = Lexicon(
    language="en",
    yes=("yes", "y", "true", "yeah", "yep", "present", *_AFFIRMED),
    no=("no", "n", "false", "nope", "absent", *_NEGATED),
    opening_yes=("yes", "true", "yeah", "yep", *_AFFIRMED),
    opening_no=("no", "false", "nope", *_NEGATED),
    opening_end=r"\s*[.,;:!?)\n]|\s*-|\s+\(|\s*$",
    yes_in_text=("yes",),
    no_in_text=("no",),
    not_no=(
        r"no\.? ?\d",
        r"no (?:\w+ )?(?:strip|image|picture|scan|film|x-?ray|ct|mri|ecg|ekg|photo|slide|information|data|context|question|option|file)s?\b",
        r"no (?:wonder|problem|idea|way to|need|matter|longer|one|surprise)\b",
    ),
    states_no=(
        r"\b(?:statement|claim|this|it|that) is (?:false|not true|untrue)$",
        r"\bsay no\b",
        r"\banswer (?:is |would be )?no\b(?! (?:one|idea|answer)\b)",
    ),
    rejects_yes=(r"\b(?:not|isn t) (?:a )?(?:clear |definite )?yes\b",),
    and_words=("and",),
    or_words=("or",),
    but_words=("but", "however"),
    definite_articles=("the",),
    indefinite_articles=("a", "an"),
    negators=("no", "not"),
    denial_openers=("no", "not", "without"),
    negations=(
        *("no", "not", "without", "none", "absent", "absence", "negative", "never", "nor", "neither", "free of"),
        *("denies", r"\w+n t"),
    ),
    denials=(
        *("no", "not", "without", "never", "absent", "absence of", "rules? out", "ruled out", "excludes?"),
        *("rather than", "instead of", "neither", "nor", "negative for", "free of", "denies", "cannot", "unlikely"),
        *("non", r"\w+n t"),
    ),
    scope_ends=("but", "however", "although", "except", "with"),
    list_joins=("or", "nor"),
    copulas=(
        *("is", "are", "was", "were", "has been", "have been", "can be", "could be", "may be", "seems?", "appears?"),
        *("looks?", "would be"),
    ),
    adverbs=(r"\w+ly", "also", "most", "less", "more"),
    denied_after=(
        *("not", "absent", "excluded", "unlikely", "likely less", "less likely", "ruled out", "incorrect", "wrong"),
        r"\w+n t",
    ),
    refusals=(
        r"\bnone of the (?:\w+ ){0,2}(?:options|choices|answers|alternatives)\b",
        r"\b(?:can|could|able to|happy to|glad to) help\b|\bplease (?:upload|provide|share|attach|send)\b",
        r"\b(?:need|require|provide|without) (?:\w+ )?(?:more|additional|further) (?:information|details|context|data)\b",
        r"^no (?:idea|answer|clue|way|comment|opinion)\b",
        rf"^(?:it is |it s |i am |i m |this is |that is )?{_UNSURE}\b",
        r"^(?:i m sorry|i am sorry|sorry|as an ai)\b",
        r"^n/a$",
        r"\b(?:do|does|did) (?:not|n t) know\b",
        r"\b(?:don|doesn|didn) t know\b",
        rf"\b{_UNABLE} (?:\w+ly )?(?:{_FIND}|be (?:\w+ly )?{_FOUND})\b",
        r"\b(?:not enough|no enough|insufficient) information\b",
    ),
    disclaimers=(
        r"\b(?:medical|professional|clinical|health) (?:advice|opinion|judgment|guidance|diagnos[ie]s)|not a (?:doctor|physician|medical|"
        r"radiologist|substitute)|\bconsult|\bdefinitive\w*|\bcorrelat|\bcertainty\b|\bconfirm|\b(?:further|additional) ",
    ),
    answer_phrases=(r"\banswer(?: to (?:the|this|your) question)?[*_`\s]*(?:\b(?:is|would be)\b[*_`\s]*:?|:)[*_`]*",),
    # "If it is stained, the answer would be B" answers another question; "if I had to choose" answers this one.
    hypotheticals=(r"\b(?:if|whether|unless) (?!i |we |one |you |forced|asked|pressed|the question)",),
    conditional_verbs=(r"\bwould\b",),
    ifs=(r"\bif (?!i |we |one |you |forced|asked|pressed|the question)",),
    answer_words=("answer", "option", "choice"),
    option_words=(r"\b(?:option|choice|answer choice|statement|letter|alternative)s?",),
    letter_lead_ins=(
        r"(?:the |my )?(?:correct |final |best |right )?(?:answer|option|choice)(?: is)?\s*:?\s*(?:(?:option|choice)\s*)?",
    ),
    word_letters=("A", "I"),
    words_after_letters=("and", "or", "is", "which", "would", "was", "not", "over", "here", "rather"),
    reasons=("because", "since", "as", "due", "given"),
    given_answers=(
        r"\b(?:given|provided|supplied|reference|gold(?: standard)?|ground truth|known|expected|intended|shown|listed) (?:correct |right )?"
        r"(?:answer|label|solution)\b",
        r"\b(?:answer|label|solution|diagnosis|option) (?:is|was|has been|had been|that was|that is) (?:already )?"
        r"(?:provided|supplied|revealed|known|shown|given(?= (?:as|to|in|above|here|so|and|therefore|hence|thus|i|we|which)\b|$))",
        r"\b(?:answer|label|solution) (?:shown|provided|supplied|(?:given|stated) (?:above|as|in|to)\b)|\banswer (?:\w+ )?above\b",
        r"\bas (?:was |is |already )?(?:given|provided|told|specified|instructed)\b",
        r"\bhints?\b(?! of)|\bground truth\b|\banswer key\b",
        r"\b(?:i|we) (?:was|were|am|are|have been|ve been|had been) (?:\w+ )?(?:told|given|informed|provided|shown|instructed)\b",
        r"\b(?:since|because|given that|given|knowing(?: that)?|(?:i|we) know(?: that)?|as) (?:correct |right )?answer (?:is|was|must be|has to be)\b",
        r"\b(?:according to|based on|consistent with|in line with|matching|matches|to match|agrees with|supports?|to support|justify|justifies|explains?|confirms?)"
        r" (?:correct|right|stated|above) (?:answer|option|label)\b",
        r"\b(?:question|prompt|task|user|instructions?) (?:\w+ )?(?:says?|states?|tells?|mentions?|gives?|provides?|indicates?|informs?|specifies)"
        r" (?:\w+ ){0,4}(?:answer|diagnosis|label)\b",
    ),
    left=("left",),
    right=("right",),
    both_sides=("both", "bilateral", "bilaterally"),
    opposites=(
        ("benign", "malignant"),
        ("increased", "decreased"),
        ("acute", "chronic"),
        ("t1", "t2"),
        ("upper", "lower"),
        ("anterior", "posterior"),
        ("superior", "inferior"),
        ("medial", "lateral"),
        ("proximal", "distal"),
        ("axial", "sagittal", "coronal"),
        ("transverse", "coronal"),
        ("transverse", "sagittal"),
        ("arterial", "venous"),
        ("male", "female"),
        ("normal", "abnormal"),
        ("mm", "cm"),
    ),
    opposite_prefixes=("hyper", "hypo"),
    order_cues=(
        r"\b(?:order|sequence|sequentially|steps?|stages?|phases?|rank(?:ed|ing)?|ascending|descending|chronological\w*|successive\w*|layers?)\b",
        r"\bfrom (?:\w+ )?(?:outside|inside|outer\w*|inner\w*|superficial|deep|top|bottom|left|right|proximal|distal|cranial|caudal|anterior|posterior"
        r"|first|smallest|largest|lowest|highest|most|least)\b",
    ),
    number_words={word: number for number, word in enumerate(_NUMBERS)},
    units=("mm", "cm", "ml", "kg", "mg", "hu"),
    spellings=(Spelling("ray", r"\bx[ -]?ray(s?)\b", r"xray\1", "x rays?"),),
    modalities={
        "CT": ("ct", "computed tomography", "cat scan"),
        "MRI": ("mri", "mr", "magnetic resonance"),
        "X-ray": ("xray", "xrays", "radiograph", "radiographs", "radiography"),
        "ultrasound": ("ultrasound", "sonography", "sonogram", "ultrasonography"),
        "PET": ("pet", "positron emission tomography"),
        "mammography": ("mammography", "mammogram", "mammograms"),
        "fundus photography": ("fundus", "fundoscopy"),
        "OCT": ("oct", "optical coherence tomography"),
        "dermoscopy": ("dermoscopy", "dermoscopic", "dermatoscopy"),
        "microscopy": ("microscopy", "histology", "histopathology", "microscopic"),
        "endoscopy": ("endoscopy", "endoscopic", "colonoscopy", "gastroscopy"),
    },
    **VERDICTS,
)
