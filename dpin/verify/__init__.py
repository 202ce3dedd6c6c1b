"""Was the work done?"""
