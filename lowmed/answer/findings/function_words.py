"""English function words, by what they do to a phrase, for reading findings. Every entry is lower case."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Rewritten before a text is split into words, in this order.
REWRITES = (
    (r"\bx[ -]?rays?\b", "xray"),
    (r"\bmagnetic[ -]resonance(?: imaging| image| tomography)?\b", "mri"),
    (r"\bcomputed tomograph(?:y|ic)\b|\bcat scans?\b", "ct"),
    (r"\b(?:positron emission tomography)\b", "pet"),
    (r"\boptical coherence tomography\b", "oct"),
    (r"\b(?:grey|gray)[ -]?scale\b", "grayscale"),
    (r"\b(?:free of|lack of|devoid of|absence of|negative for|rather than|instead of)\b", "without"),
    (r"\b(?:rules?|ruled|ruling) out\b|\bexclud(?:es?|ing)\b", "absent"),
    (r"(?<=\w)'s\b", ""),
    (r"\bno longer\b", "not"),
    (r"\bcan(?:not|['’]t)\b", "can not"),
    (r"\b(\w+)n['’]t\b", r"\1 not"),
    (r"\b(left|right)[ -]sided\b|\b(\w+)-(?:shaped|sized|like)\b", r"\1\2"),
    (r"thoraces\b", "thorax"),
    (r"\bfail(?:s|ed)? to show\b|\bdenies\b", "without"),
    (r"\bwithin normal limits\b", "normal"),
    (r"\bcommon (?=bile|carotid|femoral|hepatic|iliac|peroneal)", ""),
    (r"\bmid-line\b", "midline"),
    (r"(\d(?:\.\d+)?)\s*(?:[cm]m)?\s*[x×]\s*(?=\d+(?:\.\d+)?\s*([cm]m)\b)", r"\1 \2 "),
    (r"(?<=\d)(?=(?:mm|cm|ml|cc|kg|mg|hu|%)(?!\w))", " "),
    (r"\bhyper-?(?=intens|dens|echo|attenuat)", "hyper"),
    (r"\bhypo-?(?=intens|dens|echo|attenuat)", "hypo"),
)

# Function words. They end a phrase, and the words below say what they do beyond that.
DETERMINERS = _words("a an the this that these those its their his her each every another some any")
# A phrase after one of these places the finding before it, if the phrase names anatomy, a side or a region.
PLACE_WORDS = _words(
    "in of at on within along near over throughout involving around inside adjacent beside below above to toward"
)
OTHER_PREPOSITIONS = _words(
    "with by from for into through between during via as like than under upon about after before since"
)
COPULAS = _words(
    "is are was were be been being appear appears appeared seem seems look looks remain remains measure measures"
    " measuring located lies lie situated becomes has have had"
)
# Verbs that report a finding. No phrase of an orderly sentence is a determiner followed by one of these.
VERBS = _words(
    "show shows showed showing demonstrate demonstrates demonstrated demonstrating reveal reveals revealed revealing"
    " contain contains containing include includes including indicate indicates indicated indicating suggest suggests"
    " suggested suggesting depict depicts depicting display displays displaying exhibit exhibits represent represents"
    " reflect reflects see sees consist consists compatible consistent characteristic cause causes caused can do does"
    " did will would should must need let used use using observe"
)
# Words that neither say what is seen nor end the reach of a place or a copula.
TRANSPARENT = _words(
    "seen visible present noted identified observed found demonstrated shown detected visualized apparent evident there"
    " it here very quite rather slightly somewhat clearly mildly moderately markedly predominantly most more less such"
    " also only which who sided side's sized shaped appearing looking like again still just now true correct"
)
SCOPE_ENDS = _words(
    "but however although though except with which so because while whereas therefore thus hence yet when"
)
AND_WORDS, OR_WORDS = _words("and plus &"), _words("or nor")
DENIALS = _words("no not without never none neither nor non nothing")
DENIED_AFTER = _words("absent excluded unlikely not wrong false incorrect untrue")
HEDGES = _words(
    "may might could possible possibly perhaps maybe probable probably likely suspicious suspected suspicion"
    " questionable equivocal uncertain unclear presumably potentially potential conceivably differential versus vs"
    " suggestive"
)
# What follows these is a question or a purpose, and not a finding: "to determine if there is a mass, ...".
QUERIES = _words(
    "if whether diagnose diagnosing determine determining analyze analyzing evaluate evaluating assess assessing"
    " examine examining detect detecting visualize visualizing identify identifying monitor"
)
# These mark statements about images in general, up to the end of the sentence: "which is a common site of tumors".
GENERALITIES = _words("common commonly typical typically usually generally often frequent frequently various")
OTHER_FUNCTION_WORDS = _words(
    "we i you he she they them our your my one's what where why how then not further based given due because"
    " step first second third next finally following known called"
    " other others certain specific particular different same own not well too even"
    " able likely order provided therefore"
)
# Nouns of every description. A phrase of nothing else has no finding.
GENERIC = _words(
    "image scan picture photo photograph view figure slice study exam examination film finding sign evidence presence"
    " appearance case patient question answer option choice way kind type form part example imaging technique method"
    " diagnosis condition feature characteristic structure area region pattern detail information context indication"
    " weighted section cross cross-sectional sectional medical visual anatomical interpretation impression thing series"
    " modality surrounding nearby overall detailed"
)
# Those of them that name a spot of the image if something else describes them: "a bright area".
SPOTS = _words("area region structure")
