# text.awk: writes the text that tests train on. `awk -v documents=N -f text.awk </dev/null`: N documents with blank lines between them,
# a paragraph a line. Sentences come from the grammar below; people, towns, ships and years are chosen once for each document, so
# that names come again as in real text. Random numbers are MINSTD's (Park and Miller 1988), whose products a double holds exactly:
# every awk writes the same bytes.
function random(n) {
    state = (state * 16807) % 2147483647
    return state % n
}

# One of the alternatives of a rule.
function choose(rule, count, parts) {
    count = split(rules[rule], parts, "|")
    return parts[random(count) + 1]
}

# Replaces <rule> by one of its alternatives until no rule is left.
function expand(text, before, name) {
    while (match(text, /<[a-z]+>/)) {
        before = substr(text, 1, RSTART - 1)
        name = substr(text, RSTART + 1, RLENGTH - 2)
        text = before choose(name) substr(text, RSTART + RLENGTH)
    }
    return text
}

function capital(text) {
    return toupper(substr(text, 1, 1)) substr(text, 2)
}

function name(syllables, out) {
    out = choose("onset") choose("vowel")
    for (; syllables > 1; syllables--) {
        out = out choose("middle") choose("vowel")
    }
    return capital(out choose("end"))
}

# `count` alternatives made by the same rule, as one rule.
function several(rule, count, out, i) {
    out = expand("<" rule ">")
    for (i = 1; i < count; i++) {
        out = out "|" expand("<" rule ">")
    }
    return out
}

function begin_document(first, last) {
    first = name(1 + random(2)); last = name(1 + random(2))
    rules["person"] = first " " last "|" last "|" first "|" expand("<title>") " " last "|" name(1) " " name(2)
    rules["town"] = name(2) choose("ending") "|" name(1) choose("ending") "|" name(2)
    rules["ship"] = "the " name(2) "|the " choose("adjective") " " name(1)
    rules["year"] = (1780 + random(200)) "|" (1780 + random(200))
    rules["topic"] = several("noun", 5)
}

BEGIN {
    state = 20240229
    rules["onset"] = "b|br|c|ch|d|dr|f|g|gr|h|j|k|l|m|n|p|r|s|st|t|th|v|w"
    rules["middle"] = "b|d|g|l|ll|m|n|nd|r|rr|rt|s|ss|t|v|lm|nt|sh"
    rules["end"] = "|n|s|r|l|ck|ston|nd|rt|th|m"
    rules["vowel"] = "a|e|i|o|u|ai|ea|ou|oo|ie"
    rules["ending"] = "ham|ford|ton|bridge|mouth|field|bury|haven|wick|dale"
    rules["title"] = "Captain|Dr.|Mrs.|Mr.|Miss|Lady|Professor"
    rules["adjective"] = "old|new|small|large|quiet|heavy|bright|dark|broken|long|short|narrow|wide|cold|warm|dry|wet|early|late|" \
        "careful|careless|honest|strange|familiar|wooden|iron|golden|green|red|white|black|grey|distant|near|famous|forgotten|" \
        "expensive|cheap|useful|useless|difficult|simple|public|private|foreign|northern|southern|eastern|western|unusual|steady"
    rules["noun"] = "harbour|letter|engine|garden|window|market|river|bridge|engineer|sailor|teacher|farmer|doctor|captain|merchant|" \
        "baker|winter|summer|storm|island|mountain|valley|village|factory|library|newspaper|lantern|kitchen|table|carpet|barrel|" \
        "anchor|machine|pattern|picture|painting|violin|school|church|tower|station|railway|carriage|horse|sheep|harvest|orchard|" \
        "forest|meadow|weather|question|answer|promise|journey|message|language|number|problem|contract|debt|price|company|" \
        "council|lighthouse|telescope|compass|instrument|experiment|measurement|temperature|pressure|current|magnet|mirror|" \
        "notebook|dictionary|translation|sentence|building|workshop|hammer|bottle|candle|curtain|ladder|basket|blanket"
    rules["things"] = "letters|engines|gardens|windows|bridges|sailors|teachers|farmers|merchants|storms|islands|villages|lanterns|" \
        "barrels|machines|pictures|schools|towers|horses|sheep|orchards|questions|answers|promises|messages|contracts|debts|" \
        "instruments|experiments|measurements|mirrors|notebooks|translations|buildings|workshops|bottles|candles|ladders|baskets"
    rules["a"] = "the <topic>|the <topic>|the <adjective> <topic>|the <noun>|one <noun> of the <noun>|the <adjective> <noun>|" \
        "the <noun> of <town>|every <noun>|their <noun>|his <noun>|her <adjective> <topic>"
    rules["who"] = "<person>|<person>|the <noun>|nobody|everybody|the <adjective> <noun>|one of the <things>|the people of <town>"
    rules["did"] = "repaired|described|measured|painted|sold|bought|carried|followed|watched|forgot|remembered|opened|closed|found|" \
        "lost|answered|translated|copied|destroyed|rebuilt|counted|weighed|borrowed|returned|promised|explained|expected|noticed"
    rules["went"] = "sailed|walked|travelled|returned|came|hurried|wandered|moved|wrote|looked|waited|worked"
    rules["how"] = "slowly|quickly|carefully|twice|once|quietly|without a word|in a hurry|as usual|by mistake|with great care|again"
    rules["where"] = "in <town>|near <town>|behind the <noun>|under the <noun>|beside the <adjective> <noun>|from <town> to <town>|" \
        "on board <ship>|across the <noun>|at the <noun>|between the <noun> and the <noun>"
    rules["month"] = "January|February|March|April|May|June|July|August|September|October|November|December"
    rules["weekday"] = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
    rules["day"] = "1|2|3|5|8|9|11|12|14|17|20|21|23|26|28|30"
    rules["hour"] = "5|6|7|8|9|10|11|12"
    rules["count"] = "2|3|4|7|12|15|24|40|65|100|144|250|1,200|3,500|18,000|three|five|seven|twenty"
    rules["when"] = "in <year>|in <month> <year>|on <day> <month> <year>|on <weekday>|in the spring of <year>|after the war|" \
        "before breakfast|for <count> years|at <hour>:30|every <weekday>|that winter|in the morning"
    rules["clause"] = "<who> <did> <a>|<who> <did> <a> <where>|<who> <went> <where>|<who> <went> <how> <where>|<who> <did> <count> <things>|" \
        "there were <count> <things> <where>|<a> was <adjective>|<a> was <adjective> and <adjective>|<a> belonged to <person>|" \
        "<a> cost <count> pounds|<who> <did> <a> <how>|<ship> <went> <where>"
    rules["join"] = ", and |, but |, because |, although |; | while | before | when | until "
    rules["sentence"] = "<clause>.|<clause> <when>.|<when>, <clause>.|<clause><join><clause>.|<clause><join><clause> <when>.|" \
        "when <clause>, <clause>.|did <person> know that <clause>?|<who> did not say why <clause>.|<person> said that <clause>.|" \
        "if <clause>, <clause>.|it was <person> who <did> <a> <when>.|<clause>, which <did> <a>.|what a <adjective> <noun>!"
    for (i = 0; i < documents; i++) {
        begin_document()
        for (paragraphs = 6 + random(60); paragraphs > 0; paragraphs--) {
            line = capital(expand(choose("sentence")))
            for (more = random(4); more > 0; more--) {
                line = line " " capital(expand(choose("sentence")))
            }
            print line
        }
        print ""
    }
}
