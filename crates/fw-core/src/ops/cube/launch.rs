//! From tensors to a launch.

/// Launches a kernel of which a cube computes a sample: its name, the number of samples, and how the units are laid out; then the tensors
/// whose buffers it sees, which are made contiguous; then its numbers, and what it is compiled for.
///
/// Every buffer must have the shape that the plan gives it, and the kernel stay within those.
macro_rules! launch {
    (
        $($kernel:ident)::+ [$batch_size:expr, $workgroup:expr];
        $first:expr $(, $buffer:expr)* $(,)?;
        $($argument:expr),+ $(,)?
    ) => {{
        let first = burn_cubecl::kernel::into_contiguous($first);
        let client = first.client.clone();
        // SAFETY: as whoever launches promises.
        unsafe {
            $($kernel)::+::launch_unchecked(
                &client,
                burn_cubecl::cubecl::prelude::CubeCount::Static($batch_size as u32, 1, 1),
                $workgroup.cube_dim(),
                first.into_buffer_arg(),
                $(burn_cubecl::kernel::into_contiguous($buffer).into_buffer_arg(),)*
                $($argument),+
            );
        }
    }};
}
pub(crate) use launch;
