from unet3d.cli.main import main

main()
