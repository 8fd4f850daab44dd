"""`python -m benchmarks NAME [options]` runs one benchmark, keeps its result, and writes benchmarks/README.md anew."""

from __future__ import annotations

import sys
from importlib import import_module

from anatomark.nets.devices import wait_patiently

SUBJECTS = {
    "ablation": "what each part of a method brings, one setting changed at a time",
    "accuracy": "error of a trained run on the test splits of a data set, with time and memory of prediction",
    "bounds": "whether error bounds follow the image: coverage, rank correlation, constant bounds",
    "brain": "many landmarks in synthetic brains: train, score every stage, measure a prediction",
    "brain_people": "make a data set of 1200 landmarks in images of 16 people, from label maps",
    "clinic": "a model adapted to a few cases of another place, scored on the rest of them",
    "containment": "images a second with and without a process of its own for reading them",
    "estimate": "estimates of train --estimate compared with the training itself, every method on phantoms",
    "evaluation": "time and memory of an evaluation of many cases, with intervals",
    "growth": "time and memory over image size, landmarks and cases, with exponents",
    "house": "how the package is built: asserts, imports, circles, settings, and the calls between its files",
    "limited": "every method trained on few images, a learning curve",
    "portable": "prepare a data set, train and score it on a machine that has neither images nor image libraries",
    "onnx": "points and time of ONNX Runtime beside PyTorch, of ready-made models and of every method",
    "precision": "landmarks in bfloat16 against float32, of trained runs",
    "prediction": "seconds and memory of one prediction, compared with a U-Net and another package",
    "loop": "predict phantoms with a weak model, correct the worst, train again: the error of the rest",
    "review": "the review page: how long a switch to another of many cases takes",
    "scale": "what many images cost by predict and cohort, and a large cohort that is killed twice",
    "service": "answers, waiting time and memory of the service with many clients",
    "time_to_error": "every method after the same core minutes, on several sets, beside the heatmap network",
    "training": "steps and patches a second, compared with single patches and a conventional loader",
    "suitability": "whether images unlike the training images are flagged",
    "suspects": "whether wrong references are found: faults planted in the cases of a split",
    "ship": "make a ready-made model from a run, with its card",
    "startup": "time to help, to import and to a first predicted X-ray",
    "transfer": "error of transferred landmarks where they are known",
    "report": "write benchmarks/README.md from the saved results",
}

WITHOUT_RESULT = ("brain_people", "containment", "portable", "report", "ship")


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in SUBJECTS:
        print("python -m benchmarks NAME [--help], where NAME is one of")
        for subject, what in SUBJECTS.items():
            print(f"  {subject:13} {what}")
        return 2
    wait_patiently()  # as the command itself does
    import_module(f"benchmarks.{name}").main(sys.argv[2:])
    if name not in WITHOUT_RESULT:
        import_module("benchmarks.report").main([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
