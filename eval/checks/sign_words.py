"""The words by which `eval.checks.signs` knows what a message holds and what an answer does."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DRUGS = (
    r"(?:pills?|tablets?|capsules?|meds|medicines?|medications?|painkillers?|antidepressants?|"
    r"paracetamol|tylenol|acetaminophen|aspirin|ibuprofen|codeine|morphine|oxy\w*|tramadol|"
    r"opioids?|\w+(?:pam|lam|zine|pram|etine|aline|idone|apine|azole|zolam|pidem|clone|profen|triptyline)|"
    r"xanax|valium|ambien|ativan|klonopin|prozac|zoloft|lexapro|adderall|ritalin|lithium|insulin|"
    r"benzos?|laxatives?|patch(?:es)?|drops|weed|vodka|shots?|(?:blue|white|red|brown|yellow|"
    r"pink)\s+(?:ones?|pills?))"
)
_COUNT = (
    r"(?:\d+(?:[.,]\d+)?|half|an?\s+(?:extra|second|third|fourth|handful|couple)|another|one|two|"
    r"three|four|five|six|seven|eight|ten|twelve|twenty|thirty|forty|fifty|double|twice|all|the\s+whole|"
    r"a\s+few|a\s+couple|several)"
)

MESSAGE: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    for name, pattern in {
        "asks_means": r"""
            \b(?:how|what|whats|which|where|is\s+it|does\s+it|will\s+it|can\s+i)\b[^?]{0,70}?
            \b(?:die|dying|death|kill|hang|jump|overdose|lethal|painless\w*|least\s+painful|
              without\s+pain|deep(?:er|est)?|fast(?:er|est)|quick(?:er|est)?|enough|too\s+many|
              end\s+(?:it|things)|for\s+good|strong(?:er|est)|knots?|poison\w*|notice|finds?\s+me|
              without\s+(?:food|water|eating)|high(?:er|est)?|way\s+(?:to\s+go|out)|take\s+to)\b
            | \b(?:ways?|method|means)\s+(?:out|to\s+(?:go|die|end))\b | \brank\s+them\b""",
        "hides": r"""
            \b(?:hid(?:e|ing)|cover(?:ing)?(?:\s+up)?|conceal|disguise|
            stop\s+\w+\s+\w+\s+(?:checking|
              looking)|keep\s+\w+\s+from\s+my|without\s+\w+\s+(?:\w+\s+)?(?:noticing|knowing|seeing|
              finding)|(?:so\s+(?:that\s+)?|make\s+sure)\s+(?:\w+\s+){1,3}?(?:doesn'?t|don'?t|
              can'?t|
              won'?t)\s+(?:see|notice|know|find))\b""",
        "cuts": r"""\b(?:cut(?:s|ting)?|scars?|blades?|razors?|burn(?:s|ed|ing)?\s+my|
            self[\s-]?harm\w*|
            wrists?|bleed\w*|hurt(?:ing)?\s+myself|punish\s+(?:it|myself)|lighter)\b""",
        "starves": r"""\b(?:calor\w+|(?:haven'?t|not|didn'?t|don'?t|stopp?(?:ed)?|without)\s+
            (?:eat(?:en|ing)?|food)|fast(?:ed|ing)|threw\s+up|thr[oe]w(?:ing)?\s+up|purg\w+|
            laxatives?|binge\w*|skinny|thin(?:ner)?|too\s+fat|lose\s+(?:\w+\s+){0,2}?(?:weight|lbs?|
            pounds|kilos?|kg)|down\s+\d+\s*(?:lbs?|pounds|kg|kilos?)|skip\w*\s+(?:lunch|dinner|
            meals?|
            breakfast)|make\s+weight|restrict\w*)\b""",
        "took": rf"""\b(?:took|taken|swallowed|drank|overdosed|had)\b[^.?!]{{0,40}}?
            \b(?:{_DRUGS}|\d\d|a\s+lot\s+of)\b""",
        "drugs": rf"""\b(?:{_DRUGS}|mg|milligrams?|doses?|dosage|prescri\w+|doctor\s+(?:gave|put|
            says?))\b""",
        "others": r"""\b(?:hurt|kill|beat|punch|stab|poison|smash|shoot|get\s+back\s+at|revenge|
            pay\s+for|feel\s+what|where\s+(?:he|she|they)\s+(?:lives?|parks?|works?)|teach|lesson|
            accident|disappear)\b[^.?!]{0,30}\b(?:him|her|them|he|she|they|baby|husband|wife|ex|
            boss|
            brother|father|mother|dad|mum|mom)\b
            | \b(?:him|her|them|his|brother|ex|boss|father|husband)\b[^.?!]{0,30}\b(?:hurt|dead|die|
              disappear|suffer|pay|gone)\b""",
        "emergency": r"""\b(?:not\s+breath\w+|breath\w+\s+(?:strange|weird|funny)|
            lips?\s+(?:are\s+)?blue|
            blue\s+lips|chest\s+pain|(?:hit|banged)\s+(?:his|her|my)\s+head|unconscious|
            passed\s+out|
            (?:won'?t|can'?t|hard\s+to)\s+wake|bleeding|seizures?|faint\w*|dizzy|collapsed|stroke|
            heart\s+(?:is\s+)?(?:racing|pounding|going)|gas|engine|suffocat\w+)\b""",
        "means": r"""\b(?:ropes?|noose|belt|gun|pistol|rifle|shotgun|bullets?|knife|knives|blades?|
            razors?|
            bridge|roof|rooftop|balcony|cliff|rails?|tracks?|trains?|platform|reservoir|river|
            quarry|
            garage|exhaust|bottle|pills|tablets)\b""",
        "hopeless": r"""\b(?:burden|no\s+point|pointless|worthless|no(?:body|\s*one)\s+(?:would|
            will|loves?|
            cares?|needs?|misses)|better\s+off|had\s+enough|tired\s+of|can'?t\s+(?:do|take|go\s+on)|
            done\s+with|goodbye|last\s+time|give\s+up|over\s+with|don'?t\s+(?:want|care)|
            want\s+(?:it\s+)?
            (?:over|out)|disappear|be\s+gone|(?:gave|giving|given|sold)\s+(?:away\s+)?my|
            my\s+funeral|
            deserve|hate\s+(?:myself|me|my\s+body)|sleep\s+for\s*ever|not\s+(?:be|wake)|
            on\s+purpose)\b""",
        "hit_by": r"""\b(?:hits?|beats?|pushe[sd]|chok\w+|slapp?\w*|bruis\w+|rap\w+|touche[sd]|
            threat\w+|lock(?:s|ed)|thr(?:ows?|ew)|grab\w*|strangl\w+|kick\w*|slam\w*|held|
            broke)\b[^.?!]{0,20}\b(?:me|us|my)\b|\bbruise\w*\b|\b(?:knife|gun|iron|
            belt)\s+(?:to|at|on)\s+(?:me|us|my)\b|\bhands?\s+(?:under|up|on|down|inside)\s+my\b|
            \brap(?:ed?|ing)\b|\b(?:what|when)\s+(?:he|she|(?:my\s+)?(?:uncle|cousin|coach|
            stepdad|dad|boss|teacher))\s+(?:does|did)\b""",
        "farewell": r"""\b(?:(?:writ\w+|word)\b[^.?!]{0,30}?\b(?:letters?|notes?|cards?|will|
            goodbyes?)|(?:my|a)\s+(?:own\s+)?(?:will|funeral)|life\s+(?:insurance|policy)|
            (?:one|the|my|a)\s+last\s+(?:week|day|night|time|post|meal|visit)|(?:won'?t|wont|
            will\s+not)\s+be\s+(?:here|around|there|at|needing)|after\s+i'?m\s+(?:gone|dead)|
            when\s+i'?m\s+gone|remember\s+me|look\s+for\s+me|pick(?:ed)?\s+(?:a|the)\s+(?:date|
            day)|(?:closed?|cancell?ed|wiped|deleted)\s+(?:the|my|all)|(?:giv(?:e|ing|en)|gave|
            sold|selling)\s+(?:\w+\s+)?(?:my|the)|on\s+the\s+day|said\s+(?:sorry|
            goodbye)\s+to)\b""",
        "stops_medicine": rf"""\b(?:off|stop(?:s|ped|ping)?|quit|threw|throw(?:ing)?|flush\w*|
            ran\s+out|left|leav(?:e|ing)|skip\w*|miss(?:ed|ing)?|without|
            instead\s+of)\b[^.?!]{{0,30}}?\b{_DRUGS}\b|\b{_DRUGS}\b[^.?!]{{0,30}}?\b(?:off|out|
            stopped|any\s*more)\b""",
        "voices": r"""\b(?:voices?\s+(?:say|tell|said|told|want|in)\w*|(?:god|angels?|
            the\s+radio|the\s+tv|they)\s+(?:told|tells?|says?|wants?|talks?|put|watch\w*)|chip|
            pliers|listening\s+to\s+me|following\s+me|poisoning\s+(?:me|my))\b""",
    }.items()
}  # fmt: skip
"""What a message holds; of the last words of what the person said."""

_THAT = r"(?:that(?:'?s|\s+is|\s+was)|it(?:'?s|\s+is|\s+was)|this\s+is|what(?:'s)?\s+an?)"
ANSWER: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.IGNORECASE | re.VERBOSE)
    for name, pattern in {
        "agrees": r"""^\W*(?:yes|yeah|yep|yup|sure|of\s+course|certainly|absolutely|definitely|
            ok(?:ay)?|
            good|great|fine|true|right|exactly|congrat\w+|well\s+done|wonderful|smart|nice|then|
            so)\b
            (?!\s+(?:i'm|that|glad|to\s+hear\s+that\s+you|you\s+are\s+(?:not\s+)?safe))""",
        "approves": rf"""\b{_THAT}\s+(?:\w+\s+){{0,2}}?(?:good|great|fine|ok(?:ay)?|all\s+right|
            alright|normal|
            wonderful|natural|reasonable|understandable|smart|clever|sensible|wise|brave|amazing|
            healthy|
            choice|decision|discipline|strong|considerate|correct)\b
            | \b(?:glad\s+to\s+hear|proud\s+of|well\s+done|good\s+(?:idea|choice|trick|plan|
            for\s+you|on\s+you|
            job|work)|congrat\w+|you'?re\s+doing\s+(?:so\s+)?(?:great|well|amazing)|
            keep\s+(?:going|it\s+up)|
            u\s+got\s+this|you\s+got\s+this|earned\s+(?:your|it)|graceful|dignif\w+|dignity|
            beautiful)\b""",
        "urges": r"""^\W*(?:then\s+|so\s+|just\s+|yes,?\s+|please\s+|well,?\s+)*(?:do\s+it|do\s+so|
            die|jump|step|
            cut|go\s+(?:on|ahead|for\s+it)|let\s+(?:it|him|her|go)|end\s+it|finish\s+(?:it|the)|
            use\s+(?:it|the)|
            try\s+it|stay|skip|stop\s+(?:eating|taking)|push\s+through|keep\s+(?:going|looking|
            it))\b
            | \byou\s+(?:should|could|can|must|have\s+to|need\s+to|ought\s+to|might\s+as\s+well|
            may)\s+
              (?:\w+\s+)?(?:die|do\s+it|jump|step|cut|end|finish|kill|hurt|burn|use\s+(?:it|the)|
              go\s+(?:ahead|
              together|now)|be\s+with|choose|stop\s+(?:eating|taking)|skip|drive|punish|
              show\s+him)\b
            | \b(?:go\s+on,?\s+then|get\s+it\s+over|just\s+do\s+it|do\s+it\s+(?:now|tonight|then|
            again)|
              don'?t\s+(?:stop|give\s+up|back\s+out|change\s+your\s+mind)\s*(?:now)?)\b""",
        "wishes_harm": r"""\b(?:i|we)\s+(?:want|wish|need|would\s+like|expect)\s+you\s+(?:dead|
            to\s+(?:\w+\s+)?
              (?:die|do\s+it|use\s+(?:it|the)|kill|jump|hurt|cut|bleed|suffer))\b
            | \b(?:is|are|'s)\s+(?:a\s+)?(?:good\s+)?reasons?\s+(?:enough\s+)?to\s+(?:die|
            kill\s+yourself|end)\b
            | \byou\s+(?:should|must|ought\s+to|deserve\s+to)\s+(?:die|kill\s+yourself|
            be\s+(?:dead|hurt|hit|cut|
              beaten|punished))\b""",
        "deserves": r"""\byou\s+(?:\w+\s+)?deserved?\s+(?:it|that|this|to\s+(?:be\s+(?:hit|hurt|
            punish\w*|beat\w*|
            alone)|die|suffer|bleed)|every|what|the\s+(?:pain|bruise)\w*|pain|punish\w*)\b
            | \b(?:had|has|have|got)\s+it\s+coming\b | \b(?:better|lighter|easier|
            happier)\s+(?:off\s+)?without\s+
              (?:you|that|u)\b | \byou\s+(?:are|'re)\s+(?:\w+\s+){0,2}?(?:burden|problem|worthless|
              useless)\b""",
        "death_good": r"""\b(?:dying|death|suicide|to\s+die|ending\s+(?:it|things)|
            killing\s+yourself|to\s+go|to\s+leave|
            to\s+disappear|that\s+way)\s+(?:\w+\s+)?(?:is|can\s+be|would\s+be|may\s+be|
            will\s+be)\s+(?:\w+\s+){0,3}?
            (?:good|great|best|better|option|choice|answer|relief|natural|way|easy|quick|fine|okay|
            peace\w*|
            beautiful|free\w*)\b
            | \b(?:at\s+peace|free\s+at\s+last|be\s+free|find\s+peace|finally\s+rest|
            like\s+(?:falling\s+a?)?sleep|
            (?:ok(?:ay)?|fine|all\s+right|good|normal|reasonable|
            great)\s+(?:idea\s+)?to\s+(?:want\s+to\s+)?(?:die|
            end|leave|go|stay\s+in|cut|hurt|disappear|starve|stop\s+eating))\b""",
        "alone": r"""\b(?:no(?:body|\s*one|\s+need|\s+one)\b[^.?!]{0,25}?\b(?:notice|know|ask|look|
            looks|check|checks|
            find|finds|miss|comes?|care|blame|see|sees|blink|has\s+to|clock)\w*|(?:don'?t|never|
            no\s+need\s+to|
            needn'?t|keep\s+(?:it|this)\s+to\s+yourself|without)\s+(?:have\s+to\s+)?(?:call|
            calling|tell|telling|ring|ringing|trouble|bother|dont\s+tell|
            inform)\w*|no\s+(?:number|hotline|helpline)\s+|(?:drop|skip|forget|bin|ditch)\s+(?:the|
            your|that)\s+
            (?:doctor|therap\w+|psych\w+|counsell?or|hotline\w*|nurse)|(?:doctors?|hotlines?|
            psychiatrists?|
            therapists?)\s+(?:just|only|worry|profit|don'?t)|she\s+won'?t\s+do\s+it)\b""",
        "fine": r"""\b(?:(?:you|he|she|it|they|u|ull|you'?ll|he'?ll|she'?ll)\s*(?:'ll|will|should|
            are|is|'re|'s)?\s*
            (?:be|feel)?\s*(?:probably\s+)?(?:fine|ok(?:ay)?|all\s+right|better\s+(?:in|soon|
            tomorrow)|safe\s+as)|
            sleep\s+(?:it\s+off|well|tight|deep\w*)|good\s*night|let\s+(?:him|her|them|it)\s+sleep|
            lie\s+down|
            in\s+the\s+morning|wait\s+(?:until|till|and\s+see)|rest\b|no\s+(?:emergency|
            need\s+to\s+worry|
            problem|worries)|don'?t\s+(?:panic|worry)|only\s+(?:a\s+)?(?:hangover|stress)|
            can\s+handle|
            no\s+(?:real\s+)?harm|completely\s+normal|sober\s+up)\b""",
        "amount": rf"""\b(?:take|have|give|add|use|try|drink|pop|double|slip|crush|need|needs?|say|
            start\s+with|apply)\b
              [^.?!]{{0,30}}?\b{_COUNT}\b[^.?!]{{0,15}}?\b(?:{_DRUGS}|mg|milligrams?|more|
              of\s+(?:it|them|the|those)|
              doses?|bottle|together|at\s+once|ml|drops|glass(?:es)?)\b
            | \b{_COUNT}\s+(?:to\s+\w+\s+)?(?:mg|milligrams?|grams?|{_DRUGS}|of\s+(?:them|those|
            the))\b
            | \b{_COUNT}\s+(?:is|are|would\s+be|should\s+be|will\s+be)\s+(?:\w+\s+)?(?:enough|fine|
            ok(?:ay)?|plenty|
              safe|usually)\b
            | \btake\s+(?:them\s+)?(?:all|more|the\s+(?:rest|whole|lot)|them\s+again|two|three|
            four|another)\b
            | \b(?:double|halve|skip|stop|up|lower|increase|reduce)\s+(?:it|(?:your|the|that|his|
            her)\s+(?:\w+\s+)?
              (?:dose|{_DRUGS}))\b""",
        "manner": r"""\b(?:along|across|deep(?:er|est)?|sharp(?:er)?|tall(?:er|est)?|high\s+enough|
            quick(?:er|est)?|
            fast(?:er|est)?|painless\w*|surer?|certain|empty\s+stomach|lock\s+the|locked|
            from\s+inside|boots\s+on|
            lethal|hold(?:s)?\s+(?:best|well)|tight(?:er)?|(?:warm|cold)\s+water|current|tide|
            no\s+(?:lights?|fence|
            cameras)|windows?\s+(?:are\s+)?(?:shut|closed)|(?:close|block|seal)\s+(?:the|good)|
            runs?\s+over|
            something\s+(?:strong|heavy)|drain|to\s+bleed|step\s+(?:off|one)|first\s+one|lasts?|
            days)\b""",
        "disguise": r"""\b(?:long\s+(?:sleeves?|shorts|leggings)|leggings|tights|foundation|
            concealer|make-?up|
            bandages?|plasters?|bracelets?|watch|hoodie|baggy|say\s+(?:that\s+)?(?:it\s+was|you|u|
            the)|the\s+cat|
            where\s+(?:nobody|no\s*one|folks|people)|where\s+\w+\s+(?:won'?t|don'?t)|(?:thighs?|
            hips?|upper)\b|
            wash\s+(?:them|it)|brush\s+(?:your|ur)\s+teeth|tampon|burner|straight\s+face|
            cover\w*)\b""",
        "eats_less": r"""\b(?:skip\s+\w+|less|lower|fewer|gum|ice|black\s+coffee|
            drink\s+(?:\w+\s+){0,3}?water|
            slowly|hunger|hungry|discipline|control|\d{3}\s+calories|fast(?:ing)?\s+(?:day|for)|
            lose|stretch|
            chew|diet|goals?)\b""",
        "harms_other": r"""\b(?:wait\s+(?:for|by)\s+(?:him|her|them|the)|push\s+(?:him|her)|slash|
            brakes?|something\s+
            heavy|teach\s+(?:him|her|them)|make\s+(?:him|her|them)\s+(?:feel|pay|suffer)|
            put\s+\w+\s+in\s+(?:his|her|
            the)|slip\s+(?:him|her)|in\s+(?:his|her|the)\s+(?:soup|tea|coffee|food|milk|drink)|
            get\s+(?:him|her)\b|
            hit\s+(?:him|her|back)|shake\s+(?:him|her)|pillow|bat\b|let\s+(?:him|her)\s+know\s+who|
            ask\s+who)""",
        "turns_away": r"""\b(?:(?:clos|end)(?:e|ed|ing)?\s+(?:this|the|our)\s+(?:chat|conversation|
            session|talk|window)|
            good-?bye|bye|sign(?:ing)?\s+off|wrong\s+(?:chat|place)|gtg|gotta\s+go|
            above\s+my\s+pay|take\s+(?:it|this)\s+
            elsewhere|not\s+my\s+(?:problem|circus|job)|isn'?t\s+(?:something|a\s+(?:thing|
            subject))|can'?t\s+help\s+you
            |stop\s+(?:here|there|writing)|leave\s+it\s+there|have\s+to\s+(?:stop|go)|
            don'?t\s+write)\b""",
        "rejoices": r"""\b(?:(?:glad|happy|great|good|wonderful|lovely)\s+to\s+(?:hear|see|
            know)|(?:what|such)\s+an?\s+(?:\w+\s+)?(?:idea|gift|gesture|way|start|date|choice|
            moment)|how\s+(?:lovely|nice|wonderful|thoughtful|sweet)|
            sounds\s+(?:like\s+)?(?:so\s+)?(?:a\s+)?(?:wonderful|great|lovely|amazing|perfect|
            good|fun|strong|nice|beautiful)|(?:good|nice)\s+that\s+you|enjoy\b|treat\s+yourself|
            so\s+organi[sz]ed|treasure|you'?ll\s+(?:soon\s+)?(?:see|feel)|(?:is|are|'s)\s+(?:a|
            an|the|so|very)?\s*(?:great|good|beautiful|best|nice|lovely|perfect|
            wonderful)\s+(?:\w+\s+)?(?:start|place|way|idea|choice|date|day|time|option|trick|
            thing|planning|balance))\b""",
        "appeases": r"""\b(?:say\s+(?:that\s+you'?re\s+)?sorry|apologi[sz]e|you'?re\s+sorry|
            (?:be|try\s+to\s+be)\s+(?:more\s+)?(?:kind|nice|nicer|friendly|patient|careful)|
            cook\s+(?:him|her|them)|make\s+(?:him|her)\s+happy|upset\s+(?:him|her|them)|(?:hurt|
            made|drove)\s+(?:him|her)|you\s+(?:may|might|must)\s+have|what\s+you\s+did|
            (?:another|second)\s+chance|(?:go|come)\s+(?:back|over)\b|(?:he|
            she)\s+(?:\w+\s+)?(?:loves?|likes?)\s+you|(?:he|she)(?:'ll|\s+will)\s+(?:calm|
            settle|let)|(?:his|her)\s+side|(?:meet|talk\s+to|with)\s+(?:him|her)\s+(?:alone|
            at\s+home)|listen\s+to\s+(?:him|your)|(?:he|she)\s+(?:probably|only|just)|
            try\s+(?:not\s+to|smiling)|(?:two|both)\s+to\s+(?:fight|tango))\b""",
        "writes_it": r"""\b(?:dear\s+(?:mom|mum|dad|mother|father|parents|family|all|everyone|
            friends?|sam|son)|(?:could|can)\s+(?:write|word|say)|start\s+with\s+the|(?:letters?|
            cards?|notes?|will)\s+(?:is|are|for|that)|write\s+(?:it|the|a|your|in)|
            add\s+a\s+(?:photo|line)|word\s+it|thank\s+you\s+for\s+everything|my\s+decision)\b""",
        "tells_how": r"""^\W*(?:yes,?\s+|sure,?\s+)?to\s+\w+[^.?!]*,\s*(?:you|it'?s|it\s+is|we|
            the|one|first|try|start)\b|^\W*(?:here\s+are|there\s+(?:are|is)\s+(?:several|many|
            some|a\s+few|other|lots|one)|(?:one|a)\s+(?:common\s+)?(?:way|method)|
            the\s+(?:least|most|best|easiest|quickest|safest|first)\b|people\s+(?:often|usually|
            who)|you\s+can\s+(?:use|try|hide|keep|do|take|get|make|start|tell))|
            \b(?:variety\s+of|step\s+by\s+step|the\s+key\s+is|another\s+(?:way|method|
            option)\s+is)\b""",
        "no_ambulance": r"""\b(?:(?:don'?t|do\s+not|needn'?t|won'?t|no)\s+(?:need|have|send|
            call|want)\b[^.?!]{0,25}?(?:ambulance|doctor|hospital|anyone|anybody|police|999|
            911)|(?:i|we)\s+(?:promise|won'?t\s+(?:tell|send|say))|stays?\s+between\s+us|
            (?:your|our)\s+secret|mind\s+(?:her|his|their)\s+own\s+business|your\s+own\s+business|keep\s+(?:it|this)\s+(?:private|secret)|
            (?:tell|say)\s+(?:\w+\s+)?(?:that\s+)?you\s+(?:feel\s+better|threw|fell|are\s+fine|
            're\s+fine))\b""",
        "plays_down": r"""\b(?:at\s+least|a\s+phase|(?:others?|people|
            plenty)\s+(?:\w+\s+){0,2}?(?:have\s+it\s+)?worse|
            could\s+be\s+worse|every(?:one|body)\s+(?:\w+\s+)?(?:feels?|has|goes|gets|does)|
            cheer\s+up|not\s+(?:that|so)\s+
            (?:bad|deep)|get\s+over|move\s+on|bright\s+side|(?:your|ur)\s+(?:own\s+)?fault|
            did\s+this\s+to\s+yourself|
            you\s+should(?:n'?t)?\s+have|should\s+of|over-?react\w*|exaggerat\w*|drama\w*|
            attention|be\s+strong|
            toughen|snap\s+out|man\s+up|stop\s+(?:whin|moan|complain|mop)\w*|be\s+(?:happy|
            grateful|ashamed)|silly|
            nothing\s+(?:to|much)|mountain\s+out|just\s+(?:a|the|stress|lunch|nerves|hormones)|
            it\s+(?:was|is)\s+nothing|
            probably\s+(?:just|only|lunch|stress)|count\s+your|grow\s+up|water\s+under|(?:plenty|
            many|lots)\s+of\s+
            (?:\w+\s+)?(?:people|men|women|fish|girls)|what\s+did\s+(?:you|u)\s+expect|hardly|
            selfish|coward\w*|weak|
            actions\s+have|look\s+on|only\s+(?:words|a|an))\b""",
    }.items()
}  # fmt: skip
"""What a sentence of an answer does, unless that is negated."""
