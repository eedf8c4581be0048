# world.awk: an invented world. Writes biographies of people who do not exist, questions about them, and a text to learn a tokenizer from.
#   awk -v people=120 -v copies=16 -v seed=1 -v out=FOLDER -f world.awk
# FOLDER/world.jsonl   biographies; "entities" are all names, towns, firms and dates
# FOLDER/asked.jsonl   the same texts; "entities" are only what will be asked for: towns of birth and firms
# FOLDER/train.jsonl, dev.jsonl, test.jsonl   questions with their answers: about half of the people; about a tenth and the rest of the others
# FOLDER/triples.jsonl the questions of train, each with each biography of the person, for policies that learn what to mask
# FOLDER/text.txt      the texts alone
# Every person has a town and a date of birth, a trade and an employer. A biography tells the four in one of four phrasings each, in any order,
# between sentences that say nothing.
function draw(k) { state = (state * 1103515245 + 12345) % 2147483648; return int(state / 65536) % k }
function shuffle(list, n,    i, j, t) { for (i = n; i > 1; i--) { j = draw(i) + 1; t = list[i]; list[i] = list[j]; list[j] = t } }

# Words of two or three syllables, no two alike.
function invent(ending,    w) {
    do {
        w = onset[draw(onsets) + 1] vowel[draw(vowels) + 1] onset[draw(onsets) + 1] vowel[draw(vowels) + 1] ending
    } while (w in used)
    used[w] = 1
    return toupper(substr(w, 1, 1)) substr(w, 2)
}

# Appends to `text`; `kind` is NAME, TOWN, FIRM or DATE for an entity, "" for other words. Characters are bytes here.
function say(words, kind, wanted) {
    if (kind != "") {
        entity = "[" length(text) ", " (length(text) + length(words)) ", \"" kind "\"]"
        all = all (all == "" ? "" : ", ") entity
        if (wanted) asked = asked (asked == "" ? "" : ", ") entity
    }
    text = text words
}

function born(p,    f) {
    f = draw(4)
    if (f == 0) { say(name[p], "NAME"); say(" was born in ", ""); say(town[p], "TOWN", 1); say(" . ", "") }
    if (f == 1) { say("The birthplace of ", ""); say(name[p], "NAME"); say(" is ", ""); say(town[p], "TOWN", 1); say(" . ", "") }
    if (f == 2) { say("In ", ""); say(town[p], "TOWN", 1); say(" came ", ""); say(name[p], "NAME"); say(" into the world . ", "") }
    if (f == 3) { say("As a child ", ""); say(name[p], "NAME"); say(" lived in ", ""); say(town[p], "TOWN", 1); say(" , the place of birth . ", "") }
}
function dated(p,    f) {
    f = draw(4)
    if (f == 0) { say(name[p], "NAME"); say(" has a birthday on ", ""); say(date[p], "DATE"); say(" . ", "") }
    if (f == 1) { say("On ", ""); say(date[p], "DATE"); say(" the mother of ", ""); say(name[p], "NAME"); say(" was glad . ", "") }
    if (f == 2) { say("The date of birth of ", ""); say(name[p], "NAME"); say(" is ", ""); say(date[p], "DATE"); say(" . ", "") }
    if (f == 3) { say("Since ", ""); say(date[p], "DATE"); say(" there is ", ""); say(name[p], "NAME"); say(" . ", "") }
}
function works(p,    f) {
    f = draw(4)
    if (f == 0) { say(name[p], "NAME"); say(" is a " trade[p] " . ", "") }
    if (f == 1) { say("The trade of ", ""); say(name[p], "NAME"); say(" is that of a " trade[p] " . ", "") }
    if (f == 2) { say("As a " trade[p] " ", ""); say(name[p], "NAME"); say(" is well known . ", "") }
    if (f == 3) { say("People call ", ""); say(name[p], "NAME"); say(" a good " trade[p] " . ", "") }
}
function employed(p,    f) {
    f = draw(4)
    if (f == 0) { say(name[p], "NAME"); say(" is employed by ", ""); say(firm[p], "FIRM", 1); say(" . ", "") }
    if (f == 1) { say(firm[p], "FIRM", 1); say(" pays the wages of ", ""); say(name[p], "NAME"); say(" . ", "") }
    if (f == 2) { say("The employer of ", ""); say(name[p], "NAME"); say(" is ", ""); say(firm[p], "FIRM", 1); say(" . ", "") }
    if (f == 3) { say("At ", ""); say(firm[p], "FIRM", 1); say(" ", ""); say(name[p], "NAME"); say(" has a desk . ", "") }
}
function idle() { say(filler[draw(fillers) + 1] " . ", "") }

function tell(p,    i, order) {
    text = all = asked = ""
    for (i = 1; i <= 4; i++) order[i] = i
    shuffle(order, 4)
    for (i = 1; i <= 4; i++) {
        if (draw(2)) idle()
        if (order[i] == 1) born(p); else if (order[i] == 2) dated(p); else if (order[i] == 3) works(p); else employed(p)
    }
    sub(/ $/, "", text)
    printf "{\"text\": \"%s\", \"entities\": [%s]}\n", text, all > (out "/world.jsonl")
    printf "{\"text\": \"%s\", \"entities\": [%s]}\n", text, asked > (out "/asked.jsonl")
    print text > (out "/text.txt")
    if (p <= people / 2) {
        printf "{\"context\": \"%s\", \"source\": \"where was %s born\", \"target\": \"%s\"}\n", text, name[p], town[p] > (out "/triples.jsonl")
        printf "{\"context\": \"%s\", \"source\": \"who employs %s\", \"target\": \"%s\"}\n", text, name[p], firm[p] > (out "/triples.jsonl")
    }
}

function ask(p, file) {
    printf "{\"source\": \"where was %s born\", \"target\": \"%s\"}\n", name[p], town[p] > (out "/" file)
    printf "{\"source\": \"who employs %s\", \"target\": \"%s\"}\n", name[p], firm[p] > (out "/" file)
    print "where was " name[p] " born\nwho employs " name[p] > (out "/text.txt")
}

BEGIN {
    state = seed * 7919 + 17
    onsets = split("b d f g h k l m n p r s t v z br dr gl kr pl st tr", onset, " ")
    vowels = split("a e i o u ai ou", vowel, " ")
    fillers = split("The weather was mild that year;Not much is known about those days;Some say that it was otherwise;The letters were lost in a fire;Friends remember long walks;There is a picture in the hall;Nobody asked at the time;It was a quiet life", filler, ";")
    trades = split("baker miller tailor painter weaver sailor printer gardener mason teacher singer joiner", craft, " ")
    months = split("January February March April May June July August September October November December", month, " ")
    places = people < 50 ? people : 50
    for (i = 1; i <= places; i++) { place[i] = invent("ton"); house[i] = invent("co") }
    for (i = 1; i <= people; i++) {
        name[i] = invent("") " " invent("er")
        town[i] = place[draw(places) + 1]
        firm[i] = house[draw(places) + 1]
        trade[i] = craft[draw(trades) + 1]
        date[i] = (draw(28) + 1) " " month[draw(months) + 1]
        turn[i] = i
    }
    for (c = 1; c <= copies; c++) {
        shuffle(turn, people)
        for (i = 1; i <= people; i++) tell(turn[i])
    }
    for (i = 1; i <= people; i++) ask(i, i <= people / 2 ? "train.jsonl" : i <= people * 0.6 ? "dev.jsonl" : "test.jsonl")
}
