"""The machine level: chips and their facts, instructions, programs, placement, hazards, simulator.

`chip` and `facts` say what an NPU is; `instruction`, `encoding` and `assembly` what it is told;
`allocate`, `place`, `queues` and `hazards` lay programs out and check them; `simulator/` runs their
bytes and predicts their time. Nothing here knows a particular NPU.
"""
