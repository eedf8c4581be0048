typedef int km_kernel_unused;
