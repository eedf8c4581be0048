typedef int km_store_unused;
