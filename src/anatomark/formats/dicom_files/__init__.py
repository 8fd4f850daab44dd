"""DICOM: files, frames and series as images."""
