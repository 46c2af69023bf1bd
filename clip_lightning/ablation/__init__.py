"""Studies: one file with a question becomes runs, and runs become an answer with intervals. No torch.

``study`` reads the file, ``variants`` lays what differs over what is common, ``plan`` makes one resolved configuration
a run, ``schedule`` says which runs are wanted, ``runner`` has an executor do them, ``comparison`` compares.
"""
