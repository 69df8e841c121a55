"""Networks of others, written by us from their papers as well as an expert would, to be measured beside ours.

They see ids alone: neither region, clock nor recall, which are parts of HoyoMusic. `fitted` of each configuration
chooses the sizes that come nearest to a number of parameters, so that networks of one size are compared.
"""
