"""Italian."""

from lowmed.answer.lexicon.lexicon import Lexicon
from lowmed.answer.lexicon.romance import Words, verdicts

_WORDS = Words(
    answer=r"risposta|soluzione",
    correct=r"corrett[ao]|giust[ao]|esatt[ao]|adeguat[ao]|appropriat[ao]|indicat[ao]|ver[ao]",
    most=r"pi[uù]",
    be=r"[èé]|sarebbe|sono|sar[aà]|deve essere|sembra essere|corrisponde a",
    fill=r"si|tratta|di|la|il|lo|l|le|gli|i|un|una|uno|opzione|lettera|alternativa|risposta|che|di|del|della|con|come|probabilmente|quindi|dunque|diagnosi|seguente|[èé]"
    r"|essere|numero",
    choose=r"rimane|resta|scelgo|sceglierei|seleziono|selezionerei|opto per|opterei per|segno",
    incorrect=r"errat[ao]|sbagliat[ao]|fals[ao]|scorrett[ao]|esclus[ao]|inadeguat[ao]",
    negation=r"non|neanche|mai|n[eé]|no",
    less=r"meno|poco",
    rule_out=r"esclude(?:re|rei)?|escludiamo|scart(?:a|o|are)",
    suggest=r"suggeri(?:sce|scono)|suggestiv[ao] (?:di|per)|compatibile con|indic(?:a|ano)|orienta(?:no)? verso|si tratta di",
    may=r"pu[oò]|possono|potrebbe(?:ro)?|forse|possibil(?:e|mente)|generalmente|solitamente|tipicamente",
    other=r"altre (?:opzioni|risposte|alternative)",
    but=r"ma|per[oò]|tuttavia|sebbene|mentre",
    but_rather=r"ma|bens[iì]",
)

ITALIAN = Lexicon(
    language="it",
    yes=("sì", "si", "vero", "esatto", "corretto"),
    no=("no", "falso", "errato"),
    opening_yes=("sì", "si", "vero", "esatto", "corretto"),
    opening_no=("no", "falso", "errato"),
    opening_end=r"'?\s*[.,;:!?)\n]|\s*[-–—]|\s*$",
    yes_in_text=("sì",),
    denials=("non", "senza", r"nessun[ao]?", "assenza di", r"esclude(?:re)?"),
    denial_openers=("senza",),
    negations=("non", "senza", r"nessun[ao]?", "assenza di"),
    scope_ends=("ma", "però", "tuttavia"),
    but_words=("ma", "però", "tuttavia"),
    refusals=(
        r"\bnon (?:lo )?so\b",
        r"\bnon (?:posso|riesco|[eèé] possibile|si pu[oò])(?: a)?(?: \w+)? (?:determinar\w*|saper\w*|risponder\w*|dir\w*|valutar\w*|fornir\w*|stabilir\w*)\b",
        r"\b(?:impossibile|difficile) (?:da )?(?:determinare|sapere|rispondere|dire)\b",
    ),
    disclaimers=(r"\b(?:consiglio|consulti?|professionista|definitiv\w+|certezza)\b",),
    answer_phrases=(
        r"\brisposta(?: (?:corretta|finale|giusta|esatta))?[*_`\s]*(?:(?<=[\s*_`])[èé]\b[*_`\s]*:?|\bsarebbe\b|:)[*_`]*",
    ),
    conditional_verbs=(r"\bsarebbe\b",),
    ifs=(r"\bse\b",),
    answer_words=("risposta",),
    joins=("o", "oppure", "e", "ed", "né"),
    option_words=(r"\b(?:opzione|alternativa|risposta|lettera)",),
    letter_lead_ins=(
        r"(?:la )?(?:risposta|opzione)(?: corretta| giusta| esatta)?(?: [èé])?\s*:?\s*(?:(?:la )?(?:opzione|lettera)?\s*)?",
    ),
    word_letters=("A", "E", "I", "O"),
    words_after_letters=("è", "ed"),
    reasons=("perché", "poiché", "dato che", "in quanto"),
    withdrawals=(r"\b(?:mi sono sbagliat[oa]|mi correggo|rettifico)\b|(?:^|[.!] )correzione:",),
    corrections=("scusa(?=,)", "correzione(?=:)", "in realt[aà]", "anzi"),
    second_thoughts=(r"(?:^|[.!,;:-] ?)(?:ma |no, )?(?:in realt[aà]|anzi|ripensandoci|aspetta)\b",),
    conclusions=(r"\b(?:quindi|pertanto|dunque|in conclusione|in sintesi|infine|perci[oò])\b",),
    negated_questions=(r"\b(?:NON|TRANNE|tranne|eccetto|ERRATA|errata|FALSA|falsa|meno)\b",),
    exceptions=(
        r"\b(?:errata|falsa|eccezione|meno \w+)\b[^@.;?]{0,120}?(?:\b[èé]\b|\bsarebbe\b)(?:[^\w@.;?]|\b(?:la|il|risposta|opzione|lettera)\b){0,8}@",
    ),
    list_leads=(
        r"\b(?:ciascuna (?:opzione|risposta)|ogni (?:opzione|risposta)|le (?:opzioni|risposte|alternative))\b[^:]*:$",
    ),
    given_answers=(
        r"\brisposta (?:corretta )?(?:\w+ ){0,2}(?:data|fornita|indicata|attesa|nota)\b",
        r"\bcome (?:indicato|fornito)\b|\bil suggerimento\b|\bmi è stat[oa] (?:dett|dat|fornit|indicat)[oa]\b",
    ),
    left=("sinistra", "sinistro", "sinistre", "sinistri"),
    right=("destra", "destro", "destre", "destri"),
    both_sides=("bilaterale", "bilaterali", "entrambi", "entrambe"),
    number_words={
        "uno": 1,
        "due": 2,
        "tre": 3,
        "quattro": 4,
        "cinque": 5,
        "sette": 7,
        "otto": 8,
        "nove": 9,
        "dieci": 10,
    },
    **verdicts(_WORDS),
)
