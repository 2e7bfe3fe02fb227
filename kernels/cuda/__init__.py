"""The kernels on an NVIDIA GPU, compiled at run time by NVRTC; no torch. Importing this loads no CUDA
library.

device = Device();  stream = device.stream();  program = Program(device)
body = DeviceBody(device, model);  scene = DeviceScene(device, V, faces, uv, uv_faces, texture, np.float16)
parameters = FrameParameters(device, J, E, views=1);  target = RasterTarget(device, H, W, len(faces), views=1)
steps = (program.lbs(body, parameters, projective)
         + program.rasterize(scene, parameters, projective, target)
         + program.gather(scene, parameters, projective, target, features, depth))
finish = program.compose(parameters, Planes.of(rgb), Planes.of(alpha), rgba, mask=Planes.of(features, C + 2))
parameters.host["body"][:] = ...                                      # per frame: pose, matrices, window
origins parameters.upload(stream);  program.run(stream, steps);  engine_session.enqueue_on(stream.handle);
program.run(stream, finish)
"""

from .device import Device, Event, Stream
from .errors import CudaError
from .graph import CaptureBusy, Graph, embed, no_captures
from .launches import Launch
from .memory import DeviceArray, Scratch
from .nvdiffrast import NvdiffrastRasterizer
from .program import Planes, Program
from .scene import DeviceBody, DeviceScene, FrameParameters, RasterTarget

__all__ = [
    "CaptureBusy",
    "CudaError",
    "Device",
    "DeviceArray",
    "DeviceBody",
    "DeviceScene",
    "Event",
    "FrameParameters",
    "Graph",
    "Launch",
    "NvdiffrastRasterizer",
    "Planes",
    "Program",
    "RasterTarget",
    "Scratch",
    "Stream",
    "embed",
    "no_captures",
]
