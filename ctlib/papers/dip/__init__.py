"""Deep image prior for CT, {cite}`ulyanov2018`, in the order of its chapter."""
