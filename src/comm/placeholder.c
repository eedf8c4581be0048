typedef int km_comm_unused;
