"""Portuguese."""

from lowmed.answer.lexicon.lexicon import Lexicon
from lowmed.answer.lexicon.romance import Words, verdicts

_WORDS = Words(
    answer=r"resposta|gabarito|solu[cç][aã]o",
    correct=r"corret[ao]s?|cert[ao]|adequad[ao]|apropriad[ao]|indicad[ao]|verdadeir[ao]",
    most=r"mais",
    be=r"é|seria|s[aã]o|ser[aá]|deve ser|parece ser|corresponde [aà]",
    fill=r"se|trata|a|o|as|os|um|uma|op[cç][aã]o|letra|alternativa|resposta|que|de|do|da|com|como|provavelmente|portanto|ent[aã]o|diagn[oó]stico|seguinte|é"
    r"|ser|se|trata|n[uú]mero",
    choose=r"resta|sobra|escolho|escolheria|seleciono|selecionaria|fico com|opto por|marco|marcaria",
    incorrect=r"incorret[ao]s?|fals[ao]s?|errad[ao]s?|equivocad[ao]s?|descartad[ao]s?|inadequad[ao]s?",
    negation=r"n[aã]o|tampouco|nunca|nem",
    less=r"menos|pouco",
    rule_out=r"descarta(?:mos|r|m|ria)?|exclui|excluir",
    suggest=r"sugerem?|sugerindo|sugestiv[ao] de|compat[ií]vel com|consistente com|indicam?|aponta para|trata-se de",
    may=r"pode(?:m)?|poderia(?:m)?|costuma(?:m)?|talvez|poss[ií]vel(?:mente)?|geralmente|normalmente|tipicamente",
    other=r"(?:outras|demais) (?:op[cç][oõ]es|alternativas|respostas)",
    but=r"mas|por[eé]m|no entanto|embora|entretanto",
    but_rather=r"mas sim|e sim|mas|por[eé]m",
)

PORTUGUESE = Lexicon(
    language="pt",
    yes=("sim", "verdadeiro", "correto", "afirmativo"),
    no=("não", "nao", "falso", "incorreto"),
    opening_yes=("sim", "verdadeiro", "correto", "afirmativo"),
    opening_no=("não", "nao", "falso", "incorreto"),
    opening_end=r"\s*[.,;:!?)\n]|\s*[-–—]|\s*$",
    yes_in_text=("sim",),
    denials=(r"n[aã]o", "sem", "nenhum", "nenhuma", "tampouco", r"descarta(?:m|r)?"),
    denial_openers=("sem", "não"),
    negations=("não", "sem", "nenhum", "nenhuma", "ausência de"),
    scope_ends=("mas", "porém", "no entanto", "embora"),
    but_words=("mas", "porém", "no entanto", "entretanto"),
    refusals=(
        r"\bn[aã]o (?:sei|posso|consigo|podemos|[eé] poss[ií]vel|d[aá] para|tenho (?:informa|acesso)\w*)(?: \w+)?(?: (?:determinar|saber|responder|dizer|ver|avaliar"
        r"|analisar|fornecer|estabelecer|dar|selecionar|escolher|afirmar|opinar))?\b",
        r"\b(?:imposs[ií]vel|dif[ií]cil) (?:de )?(?:determinar|saber|responder|dizer)\b",
    ),
    disclaimers=(r"\b(?:conselho|aconselhamento|consulte?|profissional|definitiv\w+|certeza)\b",),
    answer_phrases=(
        r"\b(?:resposta|gabarito)(?: (?:correta|final|certa))?[*_`\s]*(?:\b(?:é|seria)\b[*_`\s]*:?|:)[*_`]*",
    ),
    conditional_verbs=(r"\bseria\b",),
    ifs=(r"\bse\b",),
    answer_words=("resposta", "gabarito"),
    joins=("ou", "e", "nem"),
    option_words=(r"\b(?:op[cç][aã]o|alternativa|resposta|letra|item)",),
    letter_lead_ins=(
        r"(?:a )?(?:resposta|alternativa|op[cç][aã]o)(?: correta| certa)?(?: é)?\s*:?\s*(?:(?:a )?(?:op[cç][aã]o|letra|alternativa)?\s*)?",
    ),
    word_letters=("A", "E", "O"),
    words_after_letters=("é", "e", "ou"),
    reasons=("porque", "pois", "já que", "devido", "visto que"),
    withdrawals=(r"\b(?:me enganei|retifico|corrigindo)\b|(?:^|[.!] )(?:perd[aã]o|desculpe|corre[cç][aã]o)[,:]",),
    corrections=(r"perd[aã]o(?=[,:])", "desculpe(?=[,:])", r"corre[cç][aã]o(?=:)", "na verdade", "ou melhor"),
    second_thoughts=(r"(?:^|[.!,;:-] ?)(?:mas |n[aã]o, )?(?:na verdade|ou melhor|pensando melhor|espera)\b",),
    conclusions=(
        r"\b(?:portanto|logo|em conclus[aã]o|em resumo|finalmente|assim|ent[aã]o|por conseguinte|concluindo)\b",
    ),
    negated_questions=(r"\b(?:NÃO|EXCETO|exceto|INCORRETA|incorreta|FALSA|falsa|menos)\b",),
    exceptions=(
        r"\b(?:incorreta|falsa|exce[cç][aã]o|menos \w+)\b[^@.;?]{0,120}?(?:\bé\b|\bseria\b)(?:[^\w@.;?]|\b(?:a|o|op[cç][aã]o|letra|alternativa)\b){0,8}@",
    ),
    list_leads=(
        r"\b(?:cada (?:uma das )?(?:op[cç][aã]o|op[cç][oõ]es|alternativas?)|as (?:op[cç][oõ]es|alternativas)|op[cç][oõ]es|alternativas)\b[^:]*:$",
    ),
    given_answers=(
        r"\bresposta (?:correta )?(?:\w+ ){0,2}(?:dada|fornecida|indicada|esperada|conhecida)\b",
        r"\bconforme (?:indicado|dado|fornecido)\b|\ba dica\b|\b(?:me foi|foi me) (?:dito|dada|informado)\b",
    ),
    left=("esquerda", "esquerdo", "esquerdas", "esquerdos"),
    right=("direita", "direito", "direitas", "direitos"),
    both_sides=("bilateral", "bilaterais", "ambos", "ambas"),
    number_words={
        "um": 1,
        "dois": 2,
        "duas": 2,
        "três": 3,
        "quatro": 4,
        "cinco": 5,
        "seis": 6,
        "sete": 7,
        "oito": 8,
        "nove": 9,
        "dez": 10,
    },
    **verdicts(_WORDS),
)
