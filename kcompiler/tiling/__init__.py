"""How a region is cut into tiles: the space of plans, what each costs, and the kernel that a plan means."""
