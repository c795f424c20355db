"""The Cog service: its inputs, and one call into `micromotion`.

Cog parses the inputs from this file without running it. Therefore each description is one plain string, limits
and choices are literals, and `openapi.json` is generated from them (`python -m tools.openapi`).
"""

# ruff: noqa: B008, E501 (Cog's way of declaring inputs; it misreads a description in two pieces)

import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from cog import BaseRunner, Input, Path

from micromotion import Animator, Timeline, align, parse_timeline
from micromotion.animation import Video, timed
from micromotion.credentials.signing import check_credentials
from micromotion.errors import BundleError, OutputError
from micromotion.face.images import load_image
from micromotion.face_selection import FaceSelection, parse_faces
from micromotion.inversion.pivotal_tuning import STEPS
from micromotion.options import check_motion
from micromotion.runtime.notices import notices_to
from micromotion.runtime.process import configure_process
from micromotion.runtime.progress import progress_lines
from micromotion.service import driving, uploads
from micromotion.service.cancellation import import_ahead, keep_cancellations, start_threads_apart
from micromotion.service.deadline import Deadline, seconds_allowed
from micromotion.service.health import Health, facts, reset_peak, stage_lines, sweep
from micromotion.service.inputs import animate_options, check_together, received
from micromotion.service.published import Published
from micromotion.service.redaction import MOTION_FILE, redact_paths
from micromotion.service.rendering import render
from micromotion.weights.install import ensure

if TYPE_CHECKING:
    from PIL.Image import Image

    from micromotion.learn.text import Step

MODEL = "MICROMOTION_MODEL"  # environment variable: another model than "avatar", by name or folder
FETCH = "MICROMOTION_FETCH"  # environment variable: "1" to fetch that model if it is not in the image
LEARNING_STEPS = 40
COLLECTING_LIMIT = 600.0  # seconds, for the anchors of a template; the input's description has it in minutes
COLLECTED_AFTER = 5.0  # seconds; Cog reads the result right after run() returns, and never deletes it


class Predictor(BaseRunner):
    def setup(self) -> None:
        """Load the model once, before the first prediction; download it first if MICROMOTION_FETCH is 1."""
        configure_process()
        self.seconds = seconds_allowed()
        check_credentials()
        uploads.install()
        model = os.environ.get(MODEL, "avatar")
        if os.environ.get(FETCH) == "1":
            ensure(model)
        self.animator = Animator.load(model)
        print(self.animator.bundle.describe())
        import_ahead(self.animator.bundle)
        self.health = Health(self.animator.bundle)
        keep_cancellations(lambda: self.health.predicting)
        start_threads_apart()
        if not self.health.check():
            raise BundleError(
                f"The model {model!r} renders no valid picture: its files are damaged; fetch or add it again."
            )
        self.results = tempfile.TemporaryDirectory(prefix="micromotion-")
        self.finished: queue.SimpleQueue[tuple[Path, float]] = queue.SimpleQueue()
        threading.Thread(target=_remove_finished, args=[self.finished], daemon=True).start()

    def healthcheck(self) -> bool:
        """Whether the model still renders a frame; Cog asks at every GET of /health-check."""
        return self.health.check()

    # Cog parses the inputs from this signature without running it: only literals, and all of them here.
    def run(
        self,
        image: Path = Input(
            description="A picture with a face: a photo, a painting or a drawing, as JPEG, PNG, WebP or any other still format, at most 50 million pixels.",
            accept="image/*",
        ),
        motion: str = Input(
            description="The micromotion to play; 'custom' is the one that template describes.",
            default="smile",
            choices=["smile", "angry", "aging", "eyesClose", "headsTurn", "custom"],
        ),
        template: str = Input(
            description="Only for the motion 'custom', which needs it: a sentence that describes the motion, with {degree} where the degree goes, as in 'a person with {degree} smile'. The motion is learned from it first, for at most 10 minutes, and cached; if the time runs out, the same request resumes.",
            default="",
            max_length=200,
        ),
        motion_file: Path | None = Input(
            description="A motion to play instead of motion: a safetensors file that `micromotion learn` wrote for this model, at most 32 MB.",
            default=None,
            accept=".safetensors",
        ),
        timeline: str = Input(
            description="A sequence of motions, instead of motion and frames: keyframes with time, motion=strength, linear or smooth, as in '1s smile=1 smooth, 1.5s hold, 2s smile=0 eyesClose=1, 2.2s eyesClose=0, repeat 2'; or 'alive', a loop of six seconds in which the face blinks, sways and begins to smile, drawn from seed. At most 600 frames. It can also use 'custom' if motion is 'custom', and 'motion_file' if one is sent.",
            default="",
            max_length=2000,
        ),
        driving_video: Path | None = Input(
            description="A video of a face that the photo follows, instead of a motion: blinks, gaze, mouth, brows and pose, with its length, frame rate and sound. MP4, MOV, WebM and others, at most 60 seconds and 1800 frames; or a safetensors file that `micromotion learn track` read from one.",
            default=None,
            accept="video/*,.safetensors",
        ),
        parts: str = Input(
            description="Only with a driving_video: the parts of the face that follow it, with commas between.",
            default="eyes,mouth,brows,pose",
            max_length=100,
        ),
        mirror: bool = Input(
            description="Only with a driving_video: move as the driving face would in a mirror.",
            default=False,
        ),
        clip_face: int = Input(
            description="Only with a driving_video: which of the faces in it is followed; 0 is the clearest.",
            default=0,
            ge=0,
            le=99,
        ),
        rest: int = Input(
            description="Only with a driving_video: the number of its frame, from 0, that shows the face at rest. -1 finds one.",
            default=-1,
            ge=-1,
            le=1799,
        ),
        audio: bool = Input(
            description="Only with a driving_video: keep its sound, if the output_format is mp4.",
            default=True,
        ),
        strength: float = Input(
            description="The strength of the motion: 1 is the full motion, 0 a still face, a negative number plays the opposite. It multiplies all strengths of a timeline. With a driving_video, 0 to 2.",
            default=1.0,
            ge=-5.0,
            le=5.0,
        ),
        frames: int = Input(
            description="The number of frames, from the still face in the first to the full motion in the last.",
            default=90,
            ge=1,
            le=600,
        ),
        fps: int = Input(description="Frames per second.", default=30, ge=1, le=60),
        loop: str = Input(
            description="What follows the motion: nothing (once), the same frames in reverse (pingpong), or the last frame for as long again (hold). At most 600 frames in all.",
            default="once",
            choices=["once", "pingpong", "hold"],
        ),
        easing: str = Input(
            description="The pace: even (linear), or with a gentle start and end (smooth). In a timeline it applies to keyframes without one.",
            default="linear",
            choices=["linear", "smooth"],
        ),
        seed: int = Input(
            description="The seed of the noise for fine texture (skin, hair), in a model that has noise; the avatar has none, and the logs say so. -1 uses the model's own. It is also the seed of the face on which the motion 'custom' is learned. The same request always gives the same video on the same server.",
            default=-1,
            ge=-1,
            le=4294967295,
        ),
        face: int = Input(
            description="Which face, if there are several: 0 is the clearest, 1 the next.",
            default=0,
            ge=0,
            le=99,
        ),
        faces: str = Input(
            description="Several faces of the whole photo, instead of face: 'all', numbers as in '0,2', or numbers with motions of their own and their strengths, as in '0=smile,1=angry=0.5'. At most 16 move; faces without a motion of their own play motion or timeline. With a driving_video, numbers only.",
            default="",
            max_length=1000,
        ),
        refine: int = Input(
            description="The number of steps that improve the likeness of what the model draws: 0 is off, 30 is a good number, more takes longer. Without effect, which the logs say, where only the photo's own pixels are shown.",
            default=0,
            ge=0,
            le=200,
        ),
        lock_identity: bool = Input(
            description="Tune the model to this person before the motion is played; takes minutes without a GPU, and is cached for the next time. The logs show its effect.",
            default=False,
        ),
        view: str = Input(
            description="What is shown: the whole photo, whose own face moves (photo); the square around that face (face); or the face as the model draws it (model). auto takes what suits the model, which is photo for the embedded one.",
            default="auto",
            choices=["auto", "photo", "face", "model"],
        ),
        size: int = Input(
            description="Only with the views photo and face: the longest side of the video in pixels; nothing is enlarged, so the largest value keeps all pixels of the photo.",
            default=1920,
            ge=64,
            le=16384,
        ),
        compare: bool = Input(
            description="Only with the view 'model': show the photo, its inversion, and the animation side by side.",
            default=False,
        ),
        output_format: str = Input(
            description="The file format: mp4 is a video, gif and webp are animated pictures, png is a still: the frame at the moment that at says.",
            default="mp4",
            choices=["mp4", "gif", "webp", "png"],
        ),
        at: float = Input(
            description="Only with the output_format 'png': the moment of the video that the still shows, in seconds. -1 is the last frame.",
            default=-1.0,
            ge=-1.0,
            le=600.0,
        ),
        frame: str = Input(
            description="The old name of view; 'crop' is now 'model'. If given, it overrides view.",
            default="",
            choices=["", "crop", "photo"],
            deprecated=True,
        ),
        micromotion: str = Input(
            description="The published model's name of motion. If it or scale is given, the answer is what that model gave: 100 frames of the model's own face at 30 per second, and 'eyesClose' if no name is given. Leave out motion, strength and all else that says what is played.",
            default="",
            choices=["", "smile", "angry", "aging", "eyesClose", "headsTurn"],
            deprecated=True,
        ),
        scale: int | None = Input(
            description="The published model's strength, in fifths: 5, its default, is strength 1; the last frame is at 99 hundredths of that. See micromotion.",
            default=None,
            ge=1,
            le=10,
            deprecated=True,
        ),
    ) -> Path:
        """Play a micromotion on the face in a picture."""
        inputs: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}
        deadline = Deadline(self.seconds)
        timings: dict[str, float] = {}
        reset_peak(self.animator.bundle.device)
        folder = self._new_folder()
        try:
            self.health.predicting = True
            inputs |= received(inputs)
            check_together(inputs)
            with (
                notices_to(print),
                redact_paths(self.animator.bundle.files, folder),
                inputs["image"].open("rb") as photo,
            ):
                if inputs["driving_video"] is None:
                    name, video = self._animated(photo, inputs, folder, timings, deadline)
                else:
                    clip = driving.linked(inputs["driving_video"], folder)
                    name, video = driving.CLIP, driving.drive(self.animator, photo, clip, inputs, deadline)
                output = folder / f"{name.replace(' ', '_')}.{output_format}"
                render(video, output, at, deadline)
        except BaseException:  # Cog's CancelationException is not an Exception
            self.finished.put((folder, time.monotonic()))
            raise
        finally:
            self.health.predicting = False
            uploads.discard(*inputs.values())
        timings |= video.timings
        still = output_format == "png"
        for metric, value in facts(self.animator.bundle, name, video, timings, still=still).items():
            self.record_metric(metric, value)
        print(*stage_lines(timings), sep="\n")
        print(f"Done: {output.name}, {output.stat().st_size / 1000:.0f} kB.")
        self.finished.put((folder, time.monotonic() + COLLECTED_AFTER))
        return output

    def _animated(
        self,
        photo_file: BinaryIO,
        inputs: Mapping[str, Any],
        folder: Path,
        timings: dict[str, float],
        deadline: Deadline,
    ) -> tuple[str, Video]:
        """What is played, by name, and its video."""
        motion, motion_file, timeline = inputs["motion"], inputs["motion_file"], inputs["timeline"]
        old = Published.asked(inputs["micromotion"], inputs["scale"])
        name = old.micromotion if old else motion if motion_file is None else "motion_file"
        name = "timeline" if timeline.strip() else name
        options = animate_options(inputs)
        if name not in ("timeline", "motion_file", "custom"):
            check_motion(name, self.animator.motions)  # never a file of the server, or one on the hub
        keyframes = self._keyframes(timeline, motion, motion_file) if timeline.strip() else None
        files: dict[str, Path] = {}
        if old:
            options, files = old.translated(options, self.animator.bundle, folder)
            print(old.describe(options))
        if motion_file is not None:
            files["motion_file"] = self._uploaded(motion_file, folder)
        photo: BinaryIO | Image = photo_file
        if motion == "custom":
            photo = load_image(photo_file)  # decoded once, for this and for the video
            align(photo, face=options.face)  # raises if there is no face, before anything is learned
            with timed(timings, "collect"):
                files["custom"] = self._collected(
                    inputs["template"], max(0, int(inputs["seed"])), folder, deadline
                )
        selection = self._faces(inputs["faces"], files)
        video = self.animator.animate(
            photo,
            keyframes.with_files(files) if keyframes else files.get(name, name),
            replace(options, faces=selection),
            on_refine=deadline.watch("refining", progress_lines("Refined by", "steps", options.refine)),
            on_lock=deadline.watch("tuning", progress_lines("Tuned by", "steps", STEPS)),
        )
        if selection is not None and selection.all_have_own:
            name = "their own motions"
        who = f"Face {options.face} found" if selection is None else video.describe_faces()
        print(f"{who}; playing {name} at strength {options.strength:g}.")
        return name, video

    def _new_folder(self) -> Path:
        """An empty folder for a result; schedules leftovers of cancelled predictions for removal."""
        results = Path(self.results.name)
        try:
            results.mkdir(mode=0o700, exist_ok=True)  # some systems empty their temporary folder
            for left in results.iterdir():
                self.finished.put((left, time.monotonic() + COLLECTED_AFTER))
            return Path(tempfile.mkdtemp(dir=results))
        except OSError as error:
            raise OutputError(
                f"The server cannot store the result: {error.strerror}. Try again later."
            ) from error

    def _keyframes(self, text: str, motion: str, motion_file: Path | None) -> Timeline:
        """Parse the timeline, which may name motions that this prediction can play, but no server files."""
        sent = ["custom"] * (motion == "custom") + ["motion_file"] * (motion_file is not None)
        return parse_timeline(text, lambda name: check_motion(name, [*self.animator.motions, *sent]))

    def _faces(self, text: str, files: dict[str, Path]) -> FaceSelection | None:
        """Parse the faces, which may name motions that this prediction can play, but no server files."""
        if not text.strip():
            return None
        faces = parse_faces(text)
        for name in faces.names:
            check_motion(str(name), [*self.animator.motions, *files])
        return faces.with_files(files)

    def _uploaded(self, motion_file: Path, folder: Path) -> Path:
        """The file that the caller sent, linked under the name of its input, after a first check."""
        from micromotion.motion.library import require_safetensors

        link = folder / MOTION_FILE
        link.symlink_to(motion_file)
        require_safetensors(link)
        return link

    def _collected(self, template: str, seed: int, folder: Path, deadline: Deadline) -> Path:
        """A file with the motion that the template describes; seed: of the face on which it is learned."""
        from micromotion.learn.text_cache import collect_cached

        began: list[int] = []

        def report(step: "Step") -> None:
            began.append(step.done)
            say(step.done, float(step.loss.mean()))

        say = progress_lines("Learned", "steps", LEARNING_STEPS)
        anchors = collect_cached(
            template,
            self.animator.bundle,
            "custom",
            seed=seed,
            steps=LEARNING_STEPS,
            on_step=report,
            time_limit=min(COLLECTING_LIMIT, deadline.left()),
        )
        if not began:
            print("The motion of this template is cached.")
        path = folder / "custom.safetensors"
        anchors.save(path)
        return path


def _remove_finished(finished: "queue.SimpleQueue[tuple[Path, float]]") -> None:
    """Delete the folders of results, each at its due time; never returns."""
    while True:
        folder, due = finished.get()
        time.sleep(max(0.0, due - time.monotonic()))
        shutil.rmtree(folder, ignore_errors=True)
        sweep()
