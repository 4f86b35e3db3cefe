"""Networks: one architecture a file. They see tensors; operators, solvers and training are somebody else's."""
