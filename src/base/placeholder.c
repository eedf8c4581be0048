typedef int km_base_unused;
