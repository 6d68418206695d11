"""Does a model keep its promises?"""
