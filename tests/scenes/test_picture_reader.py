from random import Random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from omniflow.datasets.scenes import ScenesDataset
from omniflow.scenes.grammar import BACKGROUNDS, PLACES, RELATIONS, SHAPES, SIZES, Scene, Thing
from omniflow.scenes.picture import draw_picture
from omniflow.scenes.picture_reader import read_picture
from omniflow.scenes.reading import Reading, SeenThing, compare

SPLITS = ("train", "validation", "test")


def accuracy(spoil, count=15):
    """Mean accuracy over `count` pictures of each split, each changed by `spoil(pixels, rng)`."""
    rng = np.random.default_rng(0)
    found = []
    for split in SPLITS:
        dataset = ScenesDataset(split=split, size=count, audio=False, seed=7)
        for index in range(count):
            pixels = spoil(np.asarray(dataset[index].image, dtype=np.float64), rng)
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            found.append(compare(read_picture(picture), dataset.scene(index)).accuracy)
    return np.mean(found)


def blurred(pixels, radius):
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float64)


def test_clean_pictures_are_read():
    assert accuracy(lambda pixels, rng: pixels) >= 0.99


def test_blurred_noisy_and_tinted_pictures_are_read():
    def spoil(pixels, rng):
        tinted = pixels * rng.uniform(0.92, 1.05, 3) + rng.uniform(-12, 12, 3)
        return blurred(tinted, 0.7) + rng.normal(0, 12, pixels.shape)

    assert accuracy(spoil) >= 0.97


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_lone_thing_is_read_at_every_place(shape, size):
    for number, place in enumerate(PLACES):
        scene = Scene((Thing(shape, "blue", size),), BACKGROUNDS[number % 4], place)
        assert read_picture(draw_picture(scene, Random(number), 64)) == Reading.of(scene)


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_are_read_both_ways_round(relation):
    things = Thing("square", "green", "small"), Thing("circle", "pink", "large")
    for pair in (things, things[::-1]) if relation != "inside" else (things,):
        scene = Scene(pair, pair=relation)
        assert compare(read_picture(draw_picture(scene, Random(3), 64)), scene).exact


@pytest.mark.parametrize("image_size", [48, 64, 128, 256])
def test_the_size_of_the_picture_does_not_matter(image_size):
    things = tuple(
        Thing(*words) for words in (("star", "red", "medium"), ("cross", "cyan", "large"))
    )
    scene = Scene((*things, Thing("diamond", "purple", "small")), "beige", None, "above", "left of")
    assert compare(read_picture(draw_picture(scene, Random(1), image_size)), scene).exact


def test_the_mode_of_the_picture_does_not_matter():
    scene = Scene((Thing("star", "red", "large"),), "black", "top left")
    picture = draw_picture(scene, Random(0), 64)
    assert read_picture(picture.convert("RGBA")) == Reading.of(scene)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_picture_has_a_background_only(background):
    scene = Scene((Thing("star", "red", "small"),), background, "bottom right")
    corner = draw_picture(scene, Random(0), 64).crop((0, 0, 20, 20))
    assert read_picture(corner) == Reading(background=background)


def test_a_picture_of_no_scene_has_no_background():
    assert read_picture(Image.new("RGB", (64, 64), (0, 255, 0))).background is None


def test_noise_reads_as_something():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert isinstance(read_picture(Image.fromarray(noise)), Reading)


def test_two_things_of_one_colour_are_two():
    scene = Scene((Thing("star", "red", "large"),), "white", "top left")
    other = Scene((Thing("circle", "red", "small"),), "white", "bottom right")
    both = np.minimum(*(np.asarray(draw_picture(one, Random(0), 64)) for one in (scene, other)))
    things = read_picture(Image.fromarray(both)).things
    assert set(things) == {
        SeenThing("star", "red", "large"),
        SeenThing("circle", "red", "small"),
    }
