"""The demonstration: a real worker, real tasks, and what is kept of them."""
