typedef int km_data_unused;
