"""Prediction of cohorts: any number of images in parts, by many processes, which can be stopped and go on."""
