typedef int km_train_unused;
