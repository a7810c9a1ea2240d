"""French."""

from lowmed.answer.lexicon.lexicon import Lexicon
from lowmed.answer.lexicon.romance import Words, verdicts

_WORDS = Words(
    answer=r"r[eé]ponse|solution",
    correct=r"correcte?s?|bonne|juste|exacte|adapt[eé]e?|appropri[eé]e?|vraie?",
    most=r"plus",
    be=r"est|serait|sont|sera|doit [eê]tre|semble [eê]tre|correspond [aà]",
    fill=r"agit|s agit|il|la|le|l|les|un|une|option|lettre|choix|r[eé]ponse|que|de|du|d|avec|[aà]|comme|probablement|donc|alors|diagnostic|suivante?|est|[eê]tre|num[eé]ro|bonne",
    choose=r"reste|il reste|je choisis|je choisirais|je s[eé]lectionne|j opte pour|j'opte pour|je retiens|je coche",
    incorrect=r"incorrecte?s?|fausse?s?|faux|erron[eé]e?s?|[eé]cart[eé]e?s?|exclue?s?|inexacte?s?",
    negation=r"pas|jamais|ni|non|aucune?",
    less=r"moins|peu",
    rule_out=r"[eé]liminer?|exclut|exclure|[eé]carter?",
    suggest=r"sugg[eè]rent?|[eé]voquent?|[eé]vocateur de|compatible avec|en faveur de|indiquent?|oriente(?:nt)? vers|il s'agit de|c'est|faveur d",
    may=r"peut|peuvent|pourrait|pourraient|possible(?:ment)?|g[eé]n[eé]ralement|souvent|habituellement",
    other=r"autres (?:options|r[eé]ponses|choix|propositions)",
    but=r"mais|cependant|toutefois|bien que|tandis que",
    but_rather=r"mais|mais plutôt|plut[oô]t",
)

FRENCH = Lexicon(
    language="fr",
    yes=("oui", "vrai", "exact"),
    no=("non", "faux"),
    opening_yes=("oui", "vrai", "exact"),
    opening_no=("non", "faux"),
    opening_end=r"\s*[.,;:!?)\n]|\s*[-–—]|\s*$",
    yes_in_text=("oui",),
    denials=("sans", "aucun", "aucune", "pas de", "pas d", "n est pas", "absence de", "absence d"),
    denial_openers=("sans",),
    negations=("sans", "aucun", "aucune", "pas de", "pas d", "n est pas", "absence de"),
    scope_ends=("mais", "cependant", "toutefois"),
    but_words=("mais", "cependant"),
    or_words=("ou",),
    copulas=("est", "sont"),
    denied_after=(
        r"absent\w*",
        r"exclue?s?",
        r"[eé]cart[eé]e?s?",
        r"[eé]limin[eé]e?s?",
        "moins probable",
        "peu probable",
    ),
    refusals=(
        r"\bje ne (?:sais|peux) pas\b",
        r"\b(?:impossible|difficile) (?:de|[aà]) (?:le )?(?:d[eé]terminer|savoir|r[eé]pondre|dire)\b",
        r"\b(?:il n est pas possible|on ne peut pas) (?:de )?(?:d[eé]terminer|savoir|r[eé]pondre|dire|conclure)\b",
    ),
    disclaimers=(r"\b(?:conseil|avis m[eé]dical|consultez|professionnel|d[eé]finiti\w+|certitude)\b",),
    answer_phrases=(r"\br[eé]ponse(?: (?:correcte|finale))?[*_`\s]*(?:\b(?:est|serait)\b[*_`\s]*:?|:)[*_`]*",),
    conditional_verbs=(r"\bserait\b",),
    ifs=(r"\bsi\b|\bs.il\b",),
    answer_words=("réponse", "reponse"),
    joins=("et", "ni", "ou bien"),
    option_words=(r"\b(?:option|choix|r[eé]ponse|lettre|proposition|item)",),
    letter_lead_ins=(
        r"(?:la )?(?:bonne |meilleure )?(?:r[eé]ponse|option)(?: correcte)?(?: est)?\s*:?\s*(?:(?:la )?(?:option|lettre|r[eé]ponse)?\s*)?",
    ),
    word_letters=("A",),
    words_after_letters=("est", "et", "ou"),
    reasons=("car", "parce", "puisque", "en raison"),
    withdrawals=(
        r"\b(?:je me suis tromp[eé]e?|je rectifie|je me corrige|erreur de ma part)\b|(?:^|[.!] )rectification ?:",
    ),
    corrections=("pardon(?=,)", "rectification(?= ?:)", "en fait", "plut[oô]t"),
    second_thoughts=(r"(?:^|[.!,;:-] ?)(?:mais |non, )?(?:en fait|plut[oô]t|apr[eè]s r[eé]flexion|attendez|pardon)\b",),
    conclusions=(r"\b(?:donc|par cons[eé]quent|en conclusion|en r[eé]sum[eé]|finalement|ainsi|alors)\b",),
    negated_questions=(r"\b(?:SAUF|sauf|excepté|INCORRECTE|incorrecte|fausse|FAUSSE|moins)\b",),
    exceptions=(
        r"\b(?:incorrecte|fausse|exception|moins \w+)\b[^@.;?]{0,120}?\b(?:est|serait)\b(?:[^\w@.;?]|\b(?:la|le|r[eé]ponse|option|lettre)\b){0,8}@",
    ),
    list_leads=(
        r"\b(?:chaque (?:option|proposition|r[eé]ponse|choix)|chacune des (?:options|propositions|r[eé]ponses)|les (?:options|propositions|choix))\b[^:]*:$",
    ),
    given_answers=(
        r"\b(?:r[eé]ponse|solution) (?:correcte )?(?:\w+ ){0,2}(?:donn[eé]e|fournie|indiqu[eé]e|attendue|connue|r[eé]v[eé]l[eé]e)\b",
        r"\bcomme (?:indiqu[eé]|donn[eé]|fourni)\w*|\bl indice\b|\bon m a (?:dit|donn[eé]|indiqu[eé])\b",
    ),
    left=("gauche", "gauche", "gauches", "gauches"),
    right=("droite", "droit", "droites", "droits"),
    both_sides=("bilatéral", "bilatérale", "bilatéraux", "bilatérales", "deux côtés"),
    number_words={"zéro": 0, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8, "neuf": 9, "dix": 10},
    **verdicts(_WORDS),
)
