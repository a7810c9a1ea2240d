"""English: the patterns of verdicts on options, as fields of a lexicon."""

from typing import Any

# Parts of the patterns for verdicts. "@" is the mention of an option.
_GAP = r"(?:(?!\b(?:whether|if|depends|not|never)\b)[^@.;?]){0,160}?"
_BE = (
    r"(?:(?<=\w)'s\b|\b(?:is|was|are|be|would|will|should|must|remains|becomes|appears|seems|lies|includes?)\b|[:=>→])"
)
_FILL = (
    r"(?:[^\w@.;?]|\b(?:is|therefore|thus|hence|then|so|most|likely|probably|clearly|definitely|indeed|simply|option|choice|answer|letter"
    r"|number|the|a|an|of|by|with|as|follows|following|given|labell?ed|marked|presence|diagnosis|that|indicated|represented|be|to|in|it"
    r"|this|for|any|either|both|at|s|nevertheless|still|actually|rather|really|just|only|really|best|more|also|has|have|must|would|should"
    r"|here|correct)\b){0,12}"
)
_SHORT_FILL = r"(?:[ ,]|\b(?:the|a|an|option|choice|of|to|with|that|it|was|is)\b){0,6}"
_NOT_ABOUT = (
    r"(?<!\b(?:each|every|to|no|determine|determining|find|reach|arrive at|provide|explain|justify|support|understand|derive|explanation|reason|reasoning|rationale|justification|analysis|discussion|possible|potential|plausible|wrong"
    r"|incorrect|other|alternative|these|those|all|of|for|behind)(?: of| for| behind)?(?: the| this| your| my)? (?:correct |final |right |best )?)"
)
_NOT_OTHERS = r"(?<!\b(?:not|students|people|readers|candidates|many|some|one|you|they|colleagues?)(?: \w+)? (?:would |might |may |could |often |to )?)"
_NOT_LESS = r"(?<!\b(?:less|least|not|not the|more|un|never|nor|n t) )"
_MOST = r"most|best|highly|very|strongly"
_SURE = r"correct|accurate|right answer|right option|right choice|right one|right"
_LIKELY = (
    r"(?:likely|probable|plausible|appropriate|suitable|accurate|consistent|compatible|suggestive|fitting|logical|reasonable"
    r"|correct|relevant|typical|evident|prominent)"
)
_FITS = (
    r"(?:likely|probable|probably|plausible|consistent with|compatible with|suggestive of|typical of|characteristic of|indicative of"
    r"|representative of|in keeping with|in line with|fits?|matches|appropriate|suitable|resembles)"
)
_BEST = (
    r"(?:correct|best|final|accurate|appropriate|suitable|likely|probable|probably|plausible|fitting|logical|preferred|closest|right (?:answer|"
    r"option|choice|response|one|letter|match)|true (?:answer|statement|option)|most (?:consistent|reasonable|compatible|suggestive|relevant))"
)
_IS_NOT = (
    r"\b(?:is|are|was|were|be|seems|appears|looks|as)(?: (?:also|both|all|therefore|thus|clearly|\w+ly|an?|the))* (?:not|incorrect|wrong|false|untrue"
    r"|inaccurate|unlikely|improbable|implausible|inconsistent|inappropriate|irrelevant|absent|excluded|eliminated|ruled out|out|less|least|rarer"
    r"|unrelated|distractors?|unsuitable|incompatible)\b"
)

VERDICTS: dict[str, Any] = {
    "final_verdicts": (
        rf"\b(?:revised|corrected|updated|new) (?:answer|choice|verdict|selection)\b{_GAP}(?:{_BE})?{_FILL}@",
        rf"\bfinal (?:answer|choice|verdict|decision|selection|diagnosis)\b{_GAP}(?:{_BE})?{_FILL}@",
    ),
    "answers": (
        rf"{_NOT_ABOUT}\b(?:answers?|solution)\b(?! (?:choices?|options?|key)){_GAP}{_BE}{_FILL}@",
        rf"{_NOT_ABOUT}\banswers?\b[ :=-]{{1,4}}(?:option |choice |letter )?@",
        r"(?:^|[.,;:–-] ?)(?:but |oh |hmm,? |sorry,? |no,? )*(?:wait|actually|no(?=[,.–…-])|sorry|correction|scratch that|strike that|i mean(?:t)?|make that|or rather)"
        rf"[ ,.:…–-]*(?:actually|i mean(?:t)?|rather|make that|it is|it s|this is|the answer is|i meant|no)*{_FILL}@",
    ),
    "verdicts": (
        rf"{_NOT_LESS}\b{_BEST}\b{_GAP}{_BE}{_FILL}@",
        rf"{_NOT_LESS}\b(?:most|best) {_FITS}{_FILL}@",
        rf"{_NOT_LESS}\b(?:the|a) most (?!common|frequent|often)\w+{_GAP}{_BE}{_FILL}@",
        rf"@[^\w@.;:?]{{0,3}}(?:\w+ ){{0,4}}?(?:is|are|was|would be|seems|appears|remains|represents|looks)\b(?: to be)?"
        rf"(?: (?:therefore|thus|clearly|indeed|also|the|a|an|my|our|only|considered|{_MOST}|\w+ly))*? "
        rf"(?:{_SURE}|(?:{_MOST}) {_LIKELY}|best|answer)\b(?! (?:side|lung|lobe|if|when|only if))",
        r"@[^\w@]{0,3}(?:✓|✔|✅|☑|👍|(?:the )?(?:correct|right|best) (?:answer|option|choice)\b|(?:correct|right)(?=[ .!]*$))",
        rf"{_NOT_OTHERS}\b(?:choose|select|pick|favou?r|opt for|settle on|vote for|go for|choosing|selecting|picking|chose|selected|picked"
        rf"|(?:go|going|went|answer|respond|respond with|go ahead) with|my (?:answer|choice|pick|selection)){_FILL}@",
        rf"@{_GAP}\bis (?:what|the one|the option|the choice|the answer)\b",
        rf"\bbest (?:described|characterized|explained|classified|categorized|answered|represented) (?:as|by|with){_FILL}@",
        r"(?:^|[.,;:–-] ?)(?:so|hence|thus|therefore|=>|→|->|⇒)(?: the)?(?: it| this| that| we| answer)*(?: must be| has to be| is| have| get)?"
        r" ?(?:option |choice )?@(?=[ .!]*$|[.,;:–-])",
        r"→ ?@(?=[ .!]*$|[.,;:–-])",
        rf"\b(?:it|this|that|answer|which) (?:must|has to|can only|should) (?:therefore |then |thus )?be{_FILL}@",
        rf"\b(?:it|this|that|which|diagnosis|answer) is{_FILL}@(?=[ .!]*$)",
        rf"\b(?:one|option|choice|answer|diagnosis) (?:that )?(?:i|we)\b{_GAP}{_BE}{_FILL}@",
        r"@ it is\b",
        rf"(?<!\bdifferential )\b(?:diagnosis|verdict|conclusion|impression|choice|selection|pick|solution) ?[:=–-]{_FILL}@",
        r"@[^\w@]{0,4}(?:as |is )?the (?:most (?!common|frequent)\w+|correct|best|right|only (?:one|option|choice|answer|possible|correct|plausible))\b"
        r"(?! (?:side|lung|lobe))",
        rf"\b(?:makes|making) (?:it |this |the answer ){_FILL}@",
        r"\b(?:makes|making) @ (?:the|a|my) (?:\w+ )?(?:winner|answer|choice|best|most|correct|right|likely|likeliest)\b",
        rf"\b(?:now|still|would|i|i.d) say{_FILL}@",
        rf"\b(?:leaves|leaving)(?: us with| only)?{_FILL}@",
        rf"\b(?:none|nothing|no other) (?:but|except|other than){_FILL}@",
        r"@ (?:is|would be|seems) (?:a|the) (?:much )?better (?:fit|match|answer|choice|option|explanation)\b",
        rf"\bnot\b[^.;]{{0,60}}\bbut(?: rather| instead)?{_FILL}@",
        r"@ (?:best|most accurately|correctly) (?:describes?|fits?|explains?|matches|represents?|answers?|characterizes?)",
    ),
    "indications": (
        rf"(?<!\b(?:would|could|may|might|can) )\b(?:suggests?|suggesting|suggestive of|indicates?|indicating|indicative of|points? (?:to|towards?)|pointing to"
        rf"|consistent with|compatible with|characteristic of|in keeping with|supports?|favou?rs?|diagnosis of"
        rf"|diagnosed (?:as|with)|identified as|classified as|conclude(?: that)?|lean towards?|(?<!\b(?:less|least|not|un) )(?:more likely|likely|probably)){_FILL}@",
        rf"@[^\w@.;:?]{{0,3}}(?:\w+ ){{0,2}}?(?:is|are|was|would be|seems|appears|remains)\b(?: (?:\w+ly|very|quite|most|more|the))*?"
        rf" (?:{_LIKELY}|true|suggested|favou?red|supported|indicated|confirmed|evident)\b(?! (?:incorrect|wrong|not|absent|excluded|for|in|if|at|when|only|later|enough))",
    ),
    "rejections": (
        rf"@[^\w@.;:?]{{0,3}}(?:[^.,;:?@–—-]{{0,40}}?\b)?{_IS_NOT}",
        r"@[^\w@,]{0,4}(?:✗|✘|❌|✖|×|incorrect\b|wrong\b|false\b|not \w+|ruled out\b|excluded\b|unlikely\b|(?:much )?less \w+)",
        r"@[^@.,;:?–—-]{0,30}?\b(?:can|may|could|would|should|is|are|to)(?: also| now| then| therefore| \w+ly)* (?:not|be (?:\w+ly )?(?:ruled out|excluded"
        r"|eliminated|dismissed|discarded|rejected|incorrect|wrong))\b",
        r"@[^@.,;:?–—-]{0,30}?\b(?:does|do|did|has|have|had) not\b",
        r"@[^@.,;:?–—-]{0,30}?\b(?:lacks?|fails? to|contradicts?)\b",
        rf"\b(?:rules? out|ruling out|ruled out|eliminates?|eliminating|excludes?|excluding|dismiss(?:es)?|rejects?|rejecting"
        rf"|argues? against|against|less likely to be|less (?:likely|consistent with|typical of|suggestive of)|unlikely to be){_FILL}@",
        rf"\b(?:not|never|neither|nor|no|without|isn t){_FILL}@",
    ),
    "comparisons": (
        rf"\b(?:unlike|(?:compared|contrast(?:ed)?|similar|as opposed|opposed|prior|due|secondary|related|leads?|progress(?:es)?) (?:to|with)"
        rf"|similar to|resembl\w+|mimic\w*|confus\w+ (?:with|for)|mistak\w+ (?:for|as)|versus|vs\.?|rather than|instead of|other than|over"
        rf"|abut\w*|adjacent to|next to|near|toward\w*|(?:anterior|posterior|superior|inferior|lateral|medial|close) to|above|below|behind|in front of"
        rf"|(?:hilum|pole|border|wall|level|region|surface) of|(?:would|could|may|might|can) (?:suggest|support|favou?r|indicate|point to|mean)"
        rf"|(?:differentiat|distinguish)\w*(?: it| this| them)? (?:from|between)|such as|including|e\.?g\.?|for example|risk of|history of|concern(?:ed|s)? (?:for|about)|worried about|suspicion of|possibility of|among"
        rf"|considered?|considering|whether|between|if|suspected|initially|at first|might think|thought of|as in|seen in|features? of|signs? of|symptoms? of|causes? of"
        rf"|associated with|complication of){_SHORT_FILL}@",
        r"@[^\w@.;:?]{0,3}(?:(?:and|or) [\w ]{1,30}? )?(?:(?:also|typically|usually|primarily|mainly|commonly|often|alone|while) )*(?:would|could|can|may|might|typically|usually|often|commonly|generally|tends?|refers?|involves?|presents?|rarely"
        r"|accounts?|occurs?|causes?|comprises?|makes up|arises?|affects?|(?:is|are|was) (?:used|caused|due|seen in|associated|defined|known|called|given)|also known|should (?:always |also )?be|(?:is|are|appears?|looks?|seems?) (?:\w+ )?(?:intact|normal|unremarkable|preserved|spared|unaffected)|was considered|were considered|is considered|is (?:a|an|the (?:second |third )?most common|characterized|typically|usually|often|commonly|generally|defined|caused|more"
        r"|less|rarer?|uncommon|common|possible|also)|are (?:typically|usually|often|commonly|generally|more|less|rarer?|possible|also"
        r"|(?:\w+ )?(?:growths|lesions|tumou?rs)))\b",
    ),
    "hedges": (rf"\b(?:may|might|could|can|possib\w+|perhaps|maybe|potential\w*|cannot exclude|not exclude){_FILL}@",),
    "accepted_items": (
        r"(?:^|[.:,;-] ?|\bthis (?:option |choice |answer |one |statement )?(?:is|seems|appears)(?: to be)?(?: also)?(?: the)? |\bis (?:the |a )?)"
        r"(?:therefore |thus |clearly |the |most |indeed )*(?:correct|right answer|true|best (?:answer|option|choice|fit|match)|most likely"
        r"|likely answer|most (?:appropriate|accurate|consistent|suitable|probable))\b(?! (?:if|when))",
        r"✓|✔|✅|☑|\byes\b[.!]?$",
    ),
    "rejected_items": (
        r"\b(?:incorrect|wrong|false|unlikely|improbable|implausible|inconsistent|inappropriate|inaccurate|irrelevant|absent|excluded|less \w+"
        r"|least \w+|ruled? out|rules out|eliminated?|not|no|never|neither|nor|without|lacks?|rather than|however|but)\b",
        r"✗|✘|❌|✖",
    ),
    "wrong_items": (r"\b(?:incorrect|wrong|false|not correct|unlikely|less likely|ruled out)\b|✗|✘|❌|✖",),
    "withdrawals": (
        r"\b(?:scratch that|strike that|never mind|i take (?:that|it) back|i (?:was|am|stand) (?:wrong|mistaken|corrected|looking at the wrong)|i made (?:a|an) (?:\w+ )?"
        r"(?:mistake|error)|disregard (?:that|my|the (?:previous|above))|(?:i )?changed my (?:mind|answer)"
        r"|let me (?:correct|revise|rephrase|change|re-?consider|re-?think|re-?evaluate|re-?assess|re-?examine)|i (?:need|have|want|would like) to "
        r"(?:correct|revise|change)|change my (?:answer|mind)|i (?:retract|withdraw)|i keep going back and forth|or so i thought|i apologi[sz]e for (?:the|my|any) (?:\w+ )?(?:mistake|error|confusion|oversight)|my (?:previous|initial|earlier|first) (?:answer|"
        r"response|choice|assessment|impression) (?:is|was) (?:wrong|incorrect|not)|on second thought|on reflection|upon reflection)\b",
        r"(?:^|[.!] )correction\b",
        r"(?:^|\b(?:no|wait|hmm|but|hold on)\b[^.]{0,15})\bthat(?: is| s| can)? (?:not (?:right|correct|it|be (?:it|right|correct|so))|wrong|incorrect)\b",
    ),
    "corrections": (
        "wait",
        "scratch that",
        "strike that",
        "correction",
        "i mean(?:t)?",
        "sorry",
        "or rather",
        "actually",
        "hmm+",
        "hold on",
    ),
    "second_thoughts": (
        r"(?:^|[.!,;:-] ?)(?:but |or |oh |so )?(?:wait|actually|hmm+|hold on|no|sorry|i mean(?:t)?|scratch that|strike that|correction|make that)\b|\b(?:on|upon|after|with) (?:further|closer|more careful|re-?|careful)"
        r"[ -]?(?:\w+)|\blet me (?:re|think again|double|check|look again)|\bi now (?:think|believe)|\brather\b|\binstead\b",
    ),
    "conclusions": (
        r"\b(?:therefore|thus|hence|so|consequently|accordingly|in conclusion|in summary|to conclude|to summarize|overall|finally|ultimately"
        r"|conclusion|final(?:ly)?)\b",
    ),
    "exceptions": (
        rf"\b(?:does not|do not|is not|are not) (?:\w+ ){{0,4}}?(?:belong|apply|fit|feature|characteristic|typical|seen|part|cause){_GAP}{_BE}{_FILL}@",
        rf"\b(?:all|everything|each)\b{_GAP}\bexcept(?: for)?{_FILL}@",
        rf"\b(?:incorrect|false|wrong|untrue|inaccurate|inappropriate|atypical|(?:not|least) \w+)\b{_GAP}{_BE}{_FILL}@",
        r"@[^\w@.;:?]{0,3}(?:is|are|was)(?: the| an?)? (?:incorrect|false|wrong|untrue|inaccurate|exception|not (?:a|an|true|correct|typical)\b)",
    ),
    "alternatives": (rf"\b(?:could|may|might|can) (?:also|equally|just as well|as well|equally well) be{_FILL}@",),
    "list_leads": (
        r"\b(?:each|every)(?: of the)? (?:\w+ )?(?:options?|choices?|alternatives?|answers?|statements?)(?: \w+){0,4} ?:$",
        r"\b(?:all|following|given|available|answer|possible|these|the|provided)(?: the)? (?:\w+ )?(?:options|choices|alternatives|possibilities"
        r"|diagnoses|statements|answers)(?: \w+){0,4} ?:$|\b(?:options|choices) ?:$|\bone by one\b.*:$|\bconsider\w* .*:$",
    ),
    "other_options": (r"\b(?:other|remaining) (?:options|choices|answers|possibilities|alternatives|diagnoses)\b",),
    "negated_questions": (
        r"\b(?:NOT|EXCEPT|not|except|least|LEAST|incorrect|false|FALSE|INCORRECT|untrue|excluding|inappropriate|INAPPROPRIATE|wrong|contraindicated|atypical|unlikely)\b",
    ),
}
