import keras

from plate_ocr.evaluation.notebook import layer_table, markdown_table


def test_numbers_are_aligned_to_the_right_and_text_to_the_left():
    head = ["set", "plates", "details", "difference", "times"]
    rows = [["layout", "3,000", "font Inter", "**-0.5**", "-"], ["fonts", "5", "", "± 2.0", "-"]]
    lines = markdown_table(head, rows).data.splitlines()
    assert lines[0] == "| set | plates | details | difference | times |"
    assert lines[1] == "| --- | --: | --- | --: | --- |"
    assert lines[2] == "| layout | 3,000 | font Inter | **-0.5** | - |"


def test_the_total_of_the_layers_counts_what_training_changes():
    layers = [
        keras.layers.Dense(4, name="dense"),
        keras.layers.Reshape((2, 2), name="shape"),
        keras.layers.ReLU(name="left_out"),
        keras.layers.BatchNormalization(name="normalization"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(7, name="fixed", trainable=False),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    lines = layer_table(model, also=("shape",)).data.splitlines()
    assert lines[2:] == [
        "| `dense` | Dense | 4 | 16 |",
        "| `shape` | Reshape | 2 x 2 |  |",
        "| `normalization` | BatchNormalization | 2 x 2 | 4 |",
        "| **total** |  |  | **20** |",
    ]
