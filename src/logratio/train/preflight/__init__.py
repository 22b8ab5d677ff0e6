"""What is looked at before and in the first steps of every training: is this run what it seems to be?"""
