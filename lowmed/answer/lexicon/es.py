"""Spanish."""

from lowmed.answer.lexicon.lexicon import Lexicon
from lowmed.answer.lexicon.romance import Words, verdicts

_WORDS = Words(
    answer=r"respuesta|soluci[oó]n|contestaci[oó]n",
    correct=r"correct[ao]s?|acertad[ao]|adecuad[ao]|apropiad[ao]|indicad[ao]|verdader[ao]",
    most=r"m[aá]s",
    be=r"es|ser[ií]a|son|ser[aá]|debe ser|parece ser|corresponde a",
    fill=r"se|si|trata|la|el|las|los|un|una|opci[oó]n|letra|alternativa|respuesta|que|de|con|a|como|probablemente|por lo tanto|por tanto|entonces|diagn[oó]stico"
    r"|siguiente|es|ser|se|trata|n[uú]mero",
    choose=r"queda|nos queda|elijo|elegir[ií]a|escojo|escoger[ií]a|selecciono|seleccionar[ií]a|me quedo con|opto por|marco|marcar[ií]a",
    incorrect=r"incorrect[ao]s?|fals[ao]s?|err[oó]ne[ao]s?|equivocad[ao]s?|descartad[ao]s?|inadecuad[ao]s?",
    negation=r"no|tampoco|nunca|ni",
    less=r"menos|poco",
    rule_out=r"descarta(?:mos|r|n|r[ií]a)?|se descarta|excluye|excluir",
    suggest=r"sugieren?|sugiriendo|sugestiv[ao] de|compatible con|consistente con|indican?|orientan? a|apunta a|se trata de",
    may=r"puede(?:n)?|podr[ií]an?|suele(?:n)?|quiz[aá]s?|posible(?:mente)?|generalmente|normalmente|t[ií]picamente",
    other=r"(?:otras|dem[aá]s|restantes) (?:opciones|alternativas|respuestas)|(?:opciones|alternativas|respuestas) restantes",
    but=r"pero|sin embargo|aunque",
    but_rather=r"sino|pero s[ií]",
)

SPANISH = Lexicon(
    language="es",
    yes=("sí", "si", "verdadero", "cierto", "correcto", "afirmativo"),
    no=("no", "falso", "incorrecto"),
    opening_yes=("sí", "si", "verdadero", "cierto", "correcto", "afirmativo"),
    opening_no=("no", "falso", "incorrecto"),
    opening_end=r"\s*[.,;:!?)\n]|\s*[-–—]|\s*$",
    yes_in_text=("sí",),
    denials=("sin", r"ning[uú]n", "ninguna", "tampoco", r"descarta(?:n|r)?"),
    denial_openers=("sin",),
    negations=("sin", r"ning[uú]n", "ninguna", "ausencia de"),
    scope_ends=("pero", "sin embargo", "aunque"),
    but_words=("pero", "sin embargo"),
    refusals=(
        r"\bno (?:lo )?s[eé]\b(?! (?:observa|aprecia|ve|visualiza|identifica|evidencia|encuentra|puede descartar))",
        r"\bno (?:me )?(?:es posible|se puede|se puede|puedo|podemos|tengo (?:suficiente|acceso)) (?:\w+ )?"
        r"(?:determinar|saber|responder|decir|contestar|ver|evaluar|analizar|proporcionar|establecer|dar|seleccionar|elegir)\w*",
        r"\b(?:imposible|dif[ií]cil) (?:de )?(?:determinar|saber|responder|decir)\b",
    ),
    disclaimers=(r"\b(?:consejo|asesoramiento|consulte?|m[eé]dico profesional|definitiv\w+|certeza)\b",),
    answer_phrases=(
        r"\b(?:respuesta|soluci[oó]n)(?: (?:correcta|final|es correcta))?[*_`\s]*(?:\b(?:es|ser[ií]a)\b[*_`\s]*:?|:)[*_`]*",
    ),
    hypotheticals=(r"\bsi (?=\w+(?:ara|iera|ase|iese|ra|se)\b)",),
    conditional_verbs=(r"\bser[ií]a\b",),
    ifs=(r"\bsi\b",),
    answer_words=("respuesta",),
    joins=("o", "u", "y", "e", "ni"),
    option_words=(r"\b(?:opci[oó]n|alternativa|respuesta|letra|inciso)",),
    letter_lead_ins=(
        r"(?:la )?(?:respuesta|opci[oó]n)(?: correcta)?(?: es)?\s*:?\s*(?:(?:la )?(?:opci[oó]n|letra)?\s*)?",
    ),
    word_letters=("A", "E", "O", "Y"),
    words_after_letters=("es", "o"),
    reasons=("porque", "ya que", "debido", "pues", "dado que"),
    withdrawals=(r"\b(?:me equivoqu[eé]|rectifico|me corrijo)\b|(?:^|[.!] )(?:perd[oó]n|correcci[oó]n)[,:]",),
    corrections=(r"perd[oó]n(?=[,:])", r"correcci[oó]n(?=:)", "en realidad", "mejor dicho"),
    second_thoughts=(r"(?:^|[.!,;:-] ?)(?:pero |no, )?(?:en realidad|mejor dicho|pens[aá]ndolo bien|espera)\b",),
    conclusions=(
        r"\b(?:por lo tanto|por tanto|en conclusi[oó]n|en resumen|finalmente|as[ií] que|entonces|por ende)\b",
    ),
    negated_questions=(r"\b(?:NO|EXCEPTO|excepto|INCORRECTA|incorrecta|FALSA|falsa|menos)\b",),
    exceptions=(
        r"\b(?:incorrecta|falsa|excepci[oó]n|menos \w+)\b[^@.;?]{0,120}?\b(?:es|ser[ií]a)\b(?:[^\w@.;?]|\b(?:la|el|opci[oó]n|letra)\b){0,8}@",
    ),
    list_leads=(
        r"\b(?:cada (?:una de las )?(?:opci[oó]n(?:es)?|alternativas?)|las (?:siguientes )?opciones|opciones)\b[^:]*:$",
    ),
    given_answers=(
        r"\brespuesta (?:correcta )?(?:\w+ ){0,2}(?:dada|proporcionada|indicada|esperada|conocida|facilitada)\b",
        r"\bcomo se (?:indica|indicó|dio|proporcionó)\b|\bla pista\b|\bse me (?:dijo|indicó|dio|ha dado|ha dicho)\b",
    ),
    left=("izquierda", "izquierdo", "izquierdas", "izquierdos"),
    right=("derecha", "derecho", "derechas", "derechos"),
    both_sides=("bilateral", "bilaterales", "ambos", "ambas"),
    number_words={
        "cero": 0,
        "uno": 1,
        "dos": 2,
        "tres": 3,
        "cuatro": 4,
        "cinco": 5,
        "seis": 6,
        "siete": 7,
        "ocho": 8,
        "nueve": 9,
        "diez": 10,
    },
    **verdicts(_WORDS),
)
