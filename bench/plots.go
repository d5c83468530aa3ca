// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"image/color"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
)

// The colours are to be seen on white and on black.
var (
	grey  = color.RGBA{0x80, 0x80, 0x80, 0xff}
	tints = []color.Color{
		color.RGBA{0x3b, 0x82, 0xf6, 0xff}, // locker's
		color.RGBA{0xe0, 0x8a, 0x00, 0xff}, color.RGBA{0xd0, 0x4a, 0x8a, 0xff}, color.RGBA{0x2e, 0x9e, 0x6b, 0xff},
	}
	shapes = []vgdraw.GlyphDrawer{vgdraw.CircleGlyph{}, vgdraw.TriangleGlyph{}, vgdraw.BoxGlyph{}, vgdraw.PyramidGlyph{}}
)

// draw writes the pictures: for each store the hand-overs over the number of
// waiters, and two of all stores.
func draw(runs []*Run, dir string) error {
	for _, r := range runs {
		if err := drawHandOvers(r, filepath.Join(dir, "handover-"+r.Store+".svg")); err != nil {
			return err
		}
	}
	if err := drawRatios(runs, "Lock and unlock, to the bare pair of exchanges", filepath.Join(dir, "uncontended.svg"), (*Run).toLimit); err != nil {
		return err
	}
	return drawRatios(runs, "Hand-over with 64 waiters, to a bare push", filepath.Join(dir, "handover.svg"), (*Run).toPush)
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.Title.Text = title
	for _, style := range []*text.Style{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle,
	} {
		style.Color, style.Font = grey, sans(style.Font.Size)
	}
	for _, line := range []*vgdraw.LineStyle{&p.X.LineStyle, &p.Y.LineStyle, &p.X.Tick.LineStyle, &p.Y.Tick.LineStyle} {
		line.Color = grey
	}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

func glyph(i int) vgdraw.GlyphStyle {
	return vgdraw.GlyphStyle{Color: tints[i%len(tints)], Radius: 4, Shape: shapes[i%len(shapes)]}
}

// drawHandOvers draws a line for each contestant and for the push.
func drawHandOvers(r *Run, path string) error {
	p := newPlot("Hand-over on " + r.Store)
	p.X.Label.Text, p.Y.Label.Text = "waiters", "median, ms"
	p.X.Scale = plot.LogScale{}
	var ticks []plot.Tick
	for _, n := range waiterCounts {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	add := func(label string, style vgdraw.GlyphStyle, dashed bool, y func(n int) float64) error {
		var points plotter.XYs
		for _, n := range waiterCounts {
			if v := y(n); !math.IsNaN(v) {
				points = append(points, plotter.XY{X: float64(n), Y: v * 1e3})
			}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, dots.GlyphStyle = style.Color, 1.5, style
		if dashed {
			line.Dashes = []vg.Length{4, 3}
		}
		p.Add(line, dots)
		p.Legend.Add(label, line, dots)
		return nil
	}
	for i, c := range r.Order {
		if err := add(c, glyph(i), false, func(n int) float64 { return r.value(contended, c, handOver, n, 0) }); err != nil {
			return err
		}
	}
	bare := vgdraw.GlyphStyle{Color: grey, Radius: 2, Shape: vgdraw.CircleGlyph{}}
	if err := add("bare push", bare, true, func(n int) float64 { return r.value(contended, ours, barePush, n, 0) }); err != nil {
		return err
	}
	p.Y.Max *= 8 // room for the legend
	return p.Save(5*vg.Inch, 3.4*vg.Inch, path)
}

// drawRatios draws a mark for each contestant of each store.
func drawRatios(runs []*Run, title, path string, ratio func(*Run, string) float64) error {
	p := newPlot(title)
	var stores []string
	var labels plotter.XYLabels
	for x, r := range runs {
		stores = append(stores, r.Store)
		for i, c := range r.Order {
			y := ratio(r, c)
			if math.IsNaN(y) {
				continue
			}
			at := plotter.XY{X: float64(x), Y: y}
			dots, err := plotter.NewScatter(plotter.XYs{at})
			if err != nil {
				return err
			}
			dots.GlyphStyle = glyph(i)
			p.Add(dots)
			if c == ours {
				if x == 0 {
					p.Legend.Add(ours, dots)
				}
				continue
			}
			labels.XYs, labels.Labels = append(labels.XYs, at), append(labels.Labels, c)
		}
	}
	names, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range names.TextStyle {
		names.TextStyle[i].Color, names.TextStyle[i].Font = grey, sans(9)
	}
	names.Offset = vg.Point{X: 6, Y: -3}
	p.Add(names)
	one := plotter.NewFunction(func(float64) float64 { return 1 })
	one.Color, one.Dashes = grey, []vg.Length{4, 3}
	p.Add(one)
	p.Legend.Add("the limit", one)
	p.NominalX(stores...)
	p.X.Min, p.X.Max = -0.4, float64(len(runs))
	p.Y.Min, p.Y.Max = min(p.Y.Min, 0.8), p.Y.Max*3
	return p.Save(8*vg.Inch, 3.6*vg.Inch, path)
}
