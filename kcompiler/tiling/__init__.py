"""How a region is cut into tiles: the space of plans, their costs, the kernel of a plan."""
