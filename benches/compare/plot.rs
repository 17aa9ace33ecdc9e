//! Curves by number of devices, both axes logarithmic, as SVG.

use std::path::Path;

use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::{
    ChartBuilder, Circle, IntoDrawingArea as _, LineSeries, PathElement, RGBColor, SVGBackend,
    SeriesLabelPosition,
};
use plotters::style::{BLACK, Color as _, WHITE};

/// Of Okabe and Ito: told apart also by those who see no red or green, and in print.
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(110, 110, 110),
];

pub(crate) struct Line {
    pub(crate) name: String,
    /// Devices, and what they take.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws nothing if there is nothing to draw.
pub(crate) fn draw(file: &Path, title: &str, unit: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|it| &it.points);
    let Some(low) = points().map(|it| it.1).min_by(f64::total_cmp) else {
        return;
    };
    let high = points().map(|it| it.1).fold(low, f64::max);
    let most = points().map(|it| it.0).fold(10.0, f64::max);
    // Noise can make an overhead nothing, for which a logarithmic axis has no place.
    let floor = 1e-3;
    let low = 10_f64.powf(low.max(floor).log10().floor());
    let high = 10_f64.powf(high.max(low * 10.0).log10().ceil());
    // Where no line is.
    let ends = |line: &Line| Some((line.points.first()?.1, line.points.last()?.1));
    let legend = match lines.first().and_then(ends) {
        Some((first, last)) if first > last => SeriesLabelPosition::UpperRight,
        _ => SeriesLabelPosition::UpperLeft,
    };
    let area = SVGBackend::new(file, (760, 440)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((10.0..most).log_scale(), (low..high).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("devices")
        .y_desc(unit)
        .x_label_formatter(&|value| label(*value))
        .y_label_formatter(&|value| label(*value))
        .label_style(("sans-serif", 13))
        .light_line_style(BLACK.mix(0.06))
        .bold_line_style(BLACK.mix(0.15))
        .draw()
        .unwrap();
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points = line
            .points
            .iter()
            .map(|&(devices, it)| (devices, it.max(floor)));
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .unwrap()
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let dots = points.map(|at| Circle::new(at, 3, colour.filled()));
        chart.draw_series(dots).unwrap();
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 13))
        .draw()
        .unwrap();
    area.present().unwrap();
}

/// With commas, or with as many digits as it has.
fn label(value: f64) -> String {
    if value >= 1.0 {
        crate::spread::number(value, 0)
    } else {
        format!("{value}")
    }
}
