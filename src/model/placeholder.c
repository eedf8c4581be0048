typedef int km_model_unused;
