"""German."""

from lowmed.answer.lexicon.lexicon import Lexicon

_GAP = r"(?:(?!\b(?:ob|wenn|nicht|kein\w*)\b)[^@.;?]){0,120}?"
_BE = r"(?:\b(?:ist|sind|wäre|lautet|bleibt|wird|scheint)\b|[:=>→])"
_FILL = (
    r"(?:[^\w@.;?]|\b(?:der|die|das|den|dem|des|ein|eine|einen|einem|option|antwort|antwortmöglichkeit|möglichkeit|buchstabe|nummer|also|somit|daher"
    r"|wohl|wahrscheinlich|vermutlich|eindeutig|klar|ist|sein|es|mit|für|von|richtige|korrekte|diagnose|folgende)\b){0,10}"
)
_CORRECT = r"richtig\w*|korrekt\w*|zutreffend\w*|beste\w*"
_WRONG = r"falsch\w*|inkorrekt\w*|unzutreffend\w*|auszuschließen|ausgeschlossen|unwahrscheinlich\w*"

GERMAN = Lexicon(
    language="de",
    yes=("ja", "richtig", "wahr", "stimmt"),
    no=("nein", "falsch"),
    opening_yes=("ja", "richtig", "wahr", "stimmt"),
    opening_no=("nein", "falsch"),
    opening_end=r"\s*[.,;:!?)\n]|\s*[-–—]|\s*$",
    yes_in_text=("ja",),
    denials=(r"kein\w*", "ohne", "nicht", "weder"),
    denial_openers=("ohne", "kein", "keine"),
    negations=(r"kein\w*", "ohne", "nicht", "weder"),
    scope_ends=("aber", "jedoch", "sondern"),
    but_words=("aber", "jedoch", "sondern"),
    or_words=("oder",),
    and_words=("und",),
    copulas=("ist", "sind", "liegt", "wäre"),
    denied_after=("nicht", "ausgeschlossen", "unwahrscheinlich", "weniger wahrscheinlich", "falsch", "auszuschliessen"),
    refusals=(
        r"\b(?:kann|könnte) (?:ich |man )?(?:das |dies |es |hierzu )?(?:ich |man )?(?:leider )?nicht (?:\w+ )?(?:beurteil|bestimm|sag|beantwort|erkenn|feststell|entscheid)\w*",
        r"\b(?:weiss ich nicht|ich weiss (?:es )?nicht|keine ahnung)\b",
        r"\bnicht (?:möglich|eindeutig|sicher) (?:zu )?(?:beurteil|bestimm|sag|beantwort|entscheid|festzustell)\w*",
        r"\b(?:lässt|laesst) sich (?:\w+ )*nicht (?:beurteil|bestimm|sag|beantwort|entscheid|feststell)\w*",
    ),
    disclaimers=(r"\b(?:ärztlich\w*|beratung|konsultier\w*|endgültig\w*|sicherheit)\b",),
    answer_phrases=(r"\b(?:antwort|lösung)(?: auf die frage)?[*_`\s]*(?:\b(?:ist|lautet|wäre)\b[*_`\s]*:?|:)[*_`]*",),
    conditional_verbs=(r"\bwäre\b",),
    ifs=(r"\b(?:wenn|falls)\b",),
    answer_words=("antwort", "lösung"),
    joins=("beziehungsweise", "bzw"),
    option_words=(r"\b(?:option|antwort(?:möglichkeit)?|möglichkeit|buchstabe|aussage)",),
    letter_lead_ins=(
        r"(?:die )?(?:richtige |korrekte )?(?:antwort|lösung|option)(?: ist| lautet)?\s*:?\s*(?:(?:option|antwort)\s*)?",
    ),
    words_after_letters=("ist", "und", "oder"),
    reasons=("weil", "da", "denn", "aufgrund", "wegen"),
    answers=(rf"\b(?:antwort|lösung)\b{_GAP}{_BE}{_FILL}@",),
    verdicts=(
        rf"(?<!\b(?:nicht|weniger) )\b(?:{_CORRECT})\b{_GAP}{_BE}{_FILL}@",
        rf"\b(?:richtig|korrekt|zutreffend) (?:ist|wäre){_FILL}@",
        rf"\b(?:am (?:wahrscheinlichsten|ehesten)|wahrscheinlichste\w*|naheliegendste\w*){_GAP}(?:{_BE}|liegt|handelt es sich um|spricht für|vereinbar mit|passend zu)?{_FILL}@",
        rf"@[^\w@.;:?]{{0,3}}(?:\w+ ){{0,4}}?(?:ist|sind|wäre)(?: \w+)?? (?:die |der |das )?(?:{_CORRECT}|antwort|lösung|am wahrscheinlichsten|wahrscheinlichste\w*)\b",
        r"@[^\w@.;:?]{0,3}(?:trifft zu|stimmt|passt am besten)\b",
        rf"\b(?:bleibt|wähle|würde|entscheide mich für|nehme|tippe auf)(?: ich)?{_FILL}@",
    ),
    indications=(
        rf"\b(?:spricht für|sprechen für|vereinbar mit|hinweis\w* auf|deutet auf|handelt es sich um|zeigt|passend zu){_FILL}@",
    ),
    rejections=(
        rf"@[^\w@.;:?]{{0,3}}(?:\w+ ){{0,4}}?(?:ist|sind|wäre|trifft|passt|kommt|scheidet)(?: \w+)?? (?:nicht|{_WRONG}|weniger \w+|aus)\b",
        rf"@[^\w@]{{0,4}}(?:{_WRONG}|nicht \w+|weniger \w+)\b",
        rf"\b(?:kein\w*|nicht|gegen|ausschluss (?:von|einer|eines)|weniger wahrscheinlich){_FILL}@",
    ),
    comparisons=(
        r"@[^\w@]{0,3}(?:kann|können|könnte|wäre|würde|zeigt typischerweise|typischerweise|meist|üblicherweise)\b",
    ),
    hedges=(rf"\b(?:kann|können|könnte|eventuell|möglicherweise|vielleicht){_FILL}@",),
    accepted_items=(rf"(?:^|[.:,;-] ?|\bist )(?:die |das )?(?:{_CORRECT}|am wahrscheinlichsten)\b",),
    rejected_items=(rf"\b(?:{_WRONG}|nicht|kein\w*|weniger \w+|ohne|jedoch|aber)\b",),
    withdrawals=(r"(?:^|[.!] )korrektur:|\b(?:ich korrigiere|ich habe mich (?:geirrt|vertan)|entschuldigung)\b",),
    corrections=("korrektur(?=:)", "moment(?=[,:])", "doch eher", "besser gesagt"),
    second_thoughts=(
        r"(?:^|[.!,;:-] ?)(?:aber |nein, )?(?:moment|doch eher|besser gesagt|bei genauerer|eigentlich|tatsächlich)\b",
    ),
    conclusions=(r"\b(?:daher|somit|also|deshalb|folglich|zusammenfassend|insgesamt|schließlich|demnach)\b",),
    other_options=(r"\b(?:andere\w*|übrige\w*|restliche\w*) (?:option|antwort|möglichkeit|antwortmöglichkeit)\w*",),
    negated_questions=(r"\b(?:NICHT|nicht|AUSSER|außer|falsch|FALSCH|am wenigsten)\b",),
    exceptions=(rf"\b(?:falsch\w*|unzutreffend\w*|ausnahme|am wenigsten \w+)\b{_GAP}{_BE}{_FILL}@",),
    list_leads=(
        r"\b(?:jede|jeder|alle|folgenden?|die (?:einzelnen )?)(?: der)? ?(?:option|antwort|möglichkeit|antwortmöglichkeit)\w*[^:]*:$",
    ),
    given_answers=(
        r"\b(?:vor|an)?gegebene\w* (?:richtige\w* |korrekte\w* )?(?:antwort|lösung)|\bmusterlösung\b|\bhinweis(?! auf)\b",
        r"\b(?:antwort|lösung) (?:\w+ ){0,2}(?:vorgegeben|angegeben|mitgeteilt|bekannt)\b|\bwie (?:vorgegeben|angegeben|mitgeteilt)\b",
        r"\bda (?:richtige |korrekte |die |die richtige )?antwort \w+ (?:ist|lautet)\b|\bmir (?:wurde|ist) (?:\w+ )?(?:gesagt|mitgeteilt|vorgegeben)\b",
    ),
    left=("links", "linke", "linker", "linken", "linkes", "linksseitig"),
    right=("rechts", "rechte", "rechter", "rechten", "rechtes", "rechtsseitig"),
    both_sides=("beidseits", "beidseitig", "bilateral", "beide", "beiden"),
    number_words={
        "null": 0,
        "eins": 1,
        "zwei": 2,
        "drei": 3,
        "vier": 4,
        "fünf": 5,
        "sechs": 6,
        "sieben": 7,
        "acht": 8,
        "neun": 9,
        "zehn": 10,
    },
)
