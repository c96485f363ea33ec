//! How layers print: as those of Burn do, with their sizes and choices and the number of their parameters, not with each parameter.

/// Implements `ModuleDisplay` for a layer, which has `#[module(custom_display)]`:
/// `displayed!(Lstm: |lstm| d_input = lstm.d_input(), d_hidden = lstm.d_output());`
macro_rules! displayed {
    ($layer:ident: |$value:ident| $($name:ident = $shown:expr),+ $(,)?) => {
        impl burn::module::ModuleDisplay for $layer {
            fn custom_settings(&self) -> Option<burn::module::DisplaySettings> {
                burn::module::DisplaySettings::new()
                    .with_new_line_after_attribute(false)
                    .optional()
            }

            fn custom_content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                let $value = self;
                content $(.add(stringify!($name), &$shown))+ .optional()
            }
        }
    };
}
pub(crate) use displayed;
