"""Export of trained models as ONNX or TorchScript graphs.

`graphs` cuts a model into graphs of tensors alone, `writer` writes them, and `runtime` runs them
with numpy and onnxruntime; a copy of that file goes with every exported model.
"""
