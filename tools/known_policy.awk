# known_policy.awk: a task whose best masking policy is known. Contexts are seven words, one of them a value at a random place; the question is
# always the same, and its answer is the value. Words alone tell nothing of it, so a policy that helps hides values and nothing else.
#   awk -v seed=1 -v examples=960 -v out=FOLDER -f known_policy.awk
# FOLDER/triples.jsonl   {"context", "source", "target"}
# FOLDER/text.txt        the contexts, and the question, a document each
function draw(k) { state = (state * 1103515245 + 12345) % 2147483648; return int(state / 65536) % k }
BEGIN {
    words = 7; values = 6; others = 12
    state = seed * 7919 + 17
    for (i = 0; i < examples; i++) {
        at = draw(words); answer = "v" draw(values); text = ""
        for (j = 0; j < words; j++) text = text (j ? " " : "") (j == at ? answer : "w" draw(others))
        printf "{\"context\": \"%s\", \"source\": \"ask\", \"target\": \"%s\"}\n", text, answer > (out "/triples.jsonl")
        print text "\n" > (out "/text.txt")
    }
    for (i = 0; i < 60; i++) print "ask\n" > (out "/question.txt")
}
