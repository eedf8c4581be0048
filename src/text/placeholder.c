typedef int km_text_unused;
